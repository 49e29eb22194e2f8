/* Multi-layer perceptrons. */
#include <stdio.h>
#include <tenon/models.h>

tn_tensor *tn_mlp(tn_module *m, const tn_mlp_options *o, const tn_tensor *x) {
    char name[32];
    tn_scope *scope = tn_scope_open(tn_module_context(m));
    tn_tensor *h = tn_reshape(x, TN_SHAPE(tn_tensor_dim(x, 0), o->features));
    for (int i = 0; i < TN_MODEL_LIST && o->hidden[i] > 0; i++) {
        snprintf(name, sizeof name, "fc%d", i + 1);
        h = tn_relu(tn_linear(m, name, h, o->hidden[i]));
    }
    return tn_scope_return(scope, tn_linear(m, "out", h, o->classes));
}
