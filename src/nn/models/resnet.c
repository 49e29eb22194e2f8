/* Residual networks (He et al. 2015; with preactivation: 2016), with torchvision's names.
 *
 * Initial values are torchvision's: convolutions Kaiming normal by their fan out, linear PyTorch's. */
#include <stdio.h>
#include <tenon/models.h>

static tn_tensor *conv(tn_module *m, const char *name, const tn_tensor *x, int64_t features,
                       int64_t kernel, int64_t stride) {
    return tn_conv2d(m, name, x, features, .kernel = kernel, .stride = stride,
                     .padding = kernel / 2, .no_bias = true,
                     .weight = tn_init_kaiming_normal(0, TN_FAN_OUT));
}

/* What is added at the end of a block: x, or a projection of it where sizes change. */
static tn_tensor *shortcut(tn_module *m, tn_tensor *x, int64_t features, int64_t stride,
                           bool norm) {
    if (stride == 1 && tn_tensor_dim(x, 1) == features) return x;
    x = conv(m, "0", x, features, 1, stride);
    return norm ? tn_batch_norm(m, "1", x) : x;
}

/* Two convolutions of 3×3, or 1×1, 3×3, 1×1 with 4 times as many features behind the last. Norm and
 * ReLU come behind each, and behind the sum; with preactivation before each. */
static tn_tensor *block(tn_module *m, const tn_resnet_options *o, tn_tensor *x, int64_t features,
                        int64_t stride) {
    int count = o->bottleneck ? 3 : 2, strided = o->bottleneck ? 2 : 1;
    int64_t wide = o->bottleneck ? 4 * features : features;
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *y = x;
    for (int i = 1; i <= count; i++) {
        char name[2][32];
        snprintf(name[0], sizeof name[0], "conv%d", i);
        snprintf(name[1], sizeof name[1], "bn%d", i);
        int64_t kernel = o->bottleneck && i != 2 ? 1 : 3;
        if (o->preactivation) y = tn_relu(tn_batch_norm(m, name[1], y));
        if (o->preactivation && i == 1 && tn_tensor_dim(x, 1) != wide) x = y;
        y = conv(m, name[0], y, i == count ? wide : features, kernel, i == strided ? stride : 1);
        if (!o->preactivation) y = tn_batch_norm(m, name[1], y);
        if (!o->preactivation && i < count) y = tn_relu(y);
    }
    x = shortcut(tn_module_child(m, "downsample"), x, wide, stride, !o->preactivation);
    y = tn_add(y, x);
    return tn_scope_return(scope, o->preactivation ? y : tn_relu(y));
}

static tn_tensor *stem(tn_module *m, const tn_resnet_options *o, const tn_tensor *x) {
    tn_tensor *y = conv(m, "conv1", x, o->width, o->small_images ? 3 : 7, o->small_images ? 1 : 2);
    if (!o->preactivation) y = tn_relu(tn_batch_norm(m, "bn1", y));
    return o->small_images ? y : tn_max_pool(y, .kernel = 3, .stride = 2, .padding = 1);
}

tn_tensor *tn_resnet(tn_module *m, const tn_resnet_options *o, const tn_tensor *x) {
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *y = stem(m, o, x);
    for (int s = 0; s < TN_MODEL_LIST && o->blocks[s] > 0; s++)
        for (int i = 0; i < o->blocks[s]; i++)
            y = block(tn_module_child(m, "layer%d.%d", s + 1, i), o, y, o->width << s,
                      s > 0 && i == 0 ? 2 : 1);
    if (o->preactivation) y = tn_relu(tn_batch_norm(m, "bn", y));
    y = tn_mean(y, TN_AXES(2, 3), false);
    return tn_scope_return(scope, tn_linear(m, "fc", y, o->classes));
}
