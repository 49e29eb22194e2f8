/* Numbers and state of members of a step, and members that become others. See tenon/population.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "wide/population_step.h"

/* ---- settings ------------------------------------------------------------------------------- */

static const char *const setting_names[] = {
    [TN_SETTING_RATE] = "settings.rate",
    [TN_SETTING_WEIGHT_DECAY] = "settings.weight_decay",
    [TN_SETTING_MOMENTUM] = "settings.momentum",
    [TN_SETTING_CLIP_NORM] = "settings.clip_norm",
    [TN__ACTIVE] = "settings.active",
};

static tn_status make_setting(tn_population_step *s, int i, double number, tn_error *err) {
    tn_buffer type = {.dtype = i == TN__ACTIVE ? TN_bool : TN_f64};
    tn__stack *stack = &s->stacks[i];
    s->names[i] = setting_names[i];
    TN_CHECK(tn__stack_init(stack, s->population, &type, false, setting_names[i], err));
    for (int m = 0; m < s->members; m++) {
        void *row;
        size_t bytes;
        TN_CHECK(tn__stack_row(stack, m, &row, &bytes, err));
        if (type.dtype == TN_bool)
            *(uint8_t *)row = number != 0;
        else
            *(double *)row = number;
    }
    return TN_OK;
}

tn_status tn__population_settings_make(tn_population_step *s, tn_error *err) {
    const tn_train_options *o = &s->train.options;
    const double first[] = {[TN_SETTING_RATE] = 1,
                            [TN_SETTING_WEIGHT_DECAY] = o->optimizer.weight_decay,
                            [TN_SETTING_MOMENTUM] = o->optimizer.momentum,
                            [TN_SETTING_CLIP_NORM] = o->clip_norm,
                            [TN__ACTIVE] = 1};
    for (int i = 0; i < TN__SETTINGS; i++) TN_CHECK(make_setting(s, i, first[i], err));
    return TN_OK;
}

/* What a setting is called, what has to be among the options for it to be used, and its range. */
typedef struct rule {
    const char *name, *needs, *range;
} rule;

static const rule rules[TN_SETTING_COUNT] = {
    [TN_SETTING_RATE] = {"the rate's factor", NULL, "at least 0, and finite"},
    [TN_SETTING_WEIGHT_DECAY] = {"the weight decay", "train.optimizer.weight_decay",
                                 "at least 0, and finite"},
    [TN_SETTING_MOMENTUM] = {"the momentum", "train.optimizer.momentum (of SGD)",
                             "at least 0, and finite"},
    [TN_SETTING_CLIP_NORM] = {"the clip norm", "train.clip_norm", "at least 0 (infinity: no clip)"},
    [TN_SETTING_LOSS_SCALE] = {"the loss scale", "train.loss_scale", "more than 0, and finite"},
};

static bool is_used(const tn_population_step *s, tn_member_setting which) {
    const tn_train_options *o = &s->train.options;
    switch (which) {
    case TN_SETTING_WEIGHT_DECAY:
        return o->optimizer.weight_decay != 0;
    case TN_SETTING_MOMENTUM:
        return o->optimizer.kind == TN_OPTIMIZER_SGD && o->optimizer.momentum != 0;
    case TN_SETTING_CLIP_NORM:
        return o->clip_norm != 0;
    case TN_SETTING_LOSS_SCALE:
        return s->train.scale != NULL;
    default:
        return true;
    }
}

static bool in_range(tn_member_setting which, double value) {
    if (which == TN_SETTING_LOSS_SCALE) return value > 0 && value < INFINITY;
    return value >= 0 && (value < INFINITY || which == TN_SETTING_CLIP_NORM);
}

static tn_status check_member(const tn_population_step *s, int member, tn_error *err) {
    TN_CHECK(tn__population_step_check(s, err));
    if (member >= 0 && member < s->members) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND, "there is no member %d; the population has %d: 0 … %d",
                        member, s->members, s->members - 1);
}

static tn_status check_setting(const tn_population_step *s, tn_member_setting which, int member,
                               tn_error *err) {
    TN_CHECK(check_member(s, member, err));
    if ((unsigned)which >= TN_SETTING_COUNT)
        return tn_error_set(err, TN_NOT_FOUND, "there is no setting %d of members", (int)which);
    if (is_used(s, which)) return TN_OK;
    return tn_error_set(err, TN_INVALID,
                        "the step has no use for %s of member %d: %s was 0 (none) when it was "
                        "compiled, and with another value members can have any",
                        rules[which].name, member, rules[which].needs);
}

/* The stack that a setting is in. */
static tn__stack *stack_of(const tn_population_step *s, tn_member_setting which) {
    if (which != TN_SETTING_LOSS_SCALE) return &s->stacks[which];
    int i = TN__SETTINGS;
    while (strcmp(s->names[i], "loss_scale") != 0) i++;
    return &s->stacks[i];
}

tn_status tn_population_step_set(tn_population_step *s, tn_member_setting which, int member,
                                 double value, tn_error *err) {
    void *row;
    size_t bytes;
    TN_CHECK(check_setting(s, which, member, err));
    if (!in_range(which, value))
        return tn_error_set(err, TN_INVALID, "%s of member %d is %g; expected %s",
                            rules[which].name, member, value, rules[which].range);
    TN_CHECK(tn__stack_row(stack_of(s, which), member, &row, &bytes, err));
    if (which == TN_SETTING_LOSS_SCALE)
        *(float *)row = (float)value;
    else
        *(double *)row = value;
    return TN_OK;
}

tn_status tn_population_step_setting(const tn_population_step *s, tn_member_setting which,
                                     int member, double *out) {
    tn_buffer all;
    *out = NAN;
    TN_CHECK(check_setting(s, which, member, NULL));
    TN_CHECK(tn_view(stack_of(s, which)->all, &all, NULL));
    *out = all.dtype == TN_f32 ? (double)((const float *)all.data)[member]
                               : ((const double *)all.data)[member];
    return TN_OK;
}

tn_status tn_population_step_set_active(tn_population_step *s, int member, bool active,
                                        tn_error *err) {
    void *row;
    size_t bytes;
    TN_CHECK(check_member(s, member, err));
    TN_CHECK(tn__stack_row(&s->stacks[TN__ACTIVE], member, &row, &bytes, err));
    *(uint8_t *)row = active;
    return TN_OK;
}

int tn_population_step_state(tn_population_step *s, tn_named_tensor *out, int room) {
    for (int i = 0; i < s->stack_count && i < room; i++)
        out[i] = (tn_named_tensor){s->names[i], s->stacks[i].all};
    return s->stack_count;
}

/* ---- copies --------------------------------------------------------------------------------- */

static tn_status check_copy(const tn_population_step *s, const int *from, tn_error *err) {
    TN_CHECK(tn__population_step_check(s, err));
    for (int i = 0; i < s->members; i++)
        if (from[i] < 0 || from[i] >= s->members)
            return tn_error_set(err, TN_NOT_FOUND,
                                "member %d is to become member %d; the population has %d: 0 … %d",
                                i, from[i], s->members, s->members - 1);
    return TN_OK;
}

/* What a member is: NULL behind the last. Its random streams and whether it is active are its own. */
static tn__stack *copied(const tn_population_step *s, int i) {
    const tn_population *p = s->population;
    int items = tn_module_count(p->module);
    if (i >= items) return &s->stacks[i - items];
    return &p->items[i];
}

static bool is_copied(const tn_population_step *s, int i) {
    const tn_population *p = s->population;
    int items = tn_module_count(p->module);
    if (i >= items) return i - items != TN__ACTIVE;
    return !p->items[i].shared && !tn__module_is_random(p->module, i);
}

/* Evaluates and finds all stacks first, so that nothing fails in the middle. */
static tn_status find_rows(const tn_population_step *s, int count, char **base, size_t *bytes,
                           size_t *most, tn_error *err) {
    for (int i = 0; i < count; i++) {
        void *data;
        if (!is_copied(s, i)) continue;
        TN_CHECK(tn__stack_row(copied(s, i), 0, &data, &bytes[i], err));
        base[i] = data;
        *most = TN_MAX(*most, bytes[i]);
    }
    return TN_OK;
}

/* `old`: room for the rows of all members. */
static void copy_rows(char *rows, size_t bytes, const int *from, int members, char *old) {
    if (!bytes) return;
    memcpy(old, rows, bytes * (size_t)members);
    for (int i = 0; i < members; i++)
        if (from[i] != i) memcpy(rows + (size_t)i * bytes, old + (size_t)from[i] * bytes, bytes);
}

tn_status tn_population_step_copy(tn_population_step *s, const int *from, tn_error *err) {
    TN_CHECK(check_copy(s, from, err));
    int count = tn_module_count(s->population->module) + s->stack_count;
    char **base = calloc((size_t)count, sizeof *base), *old = NULL;
    size_t *bytes = calloc((size_t)count, sizeof *bytes), most = 0;
    tn_status status = base && bytes ? find_rows(s, count, base, bytes, &most, err) : TN_OK;
    if (status == TN_OK && base && bytes) old = malloc(most * (size_t)s->members + 1);
    if (status == TN_OK && !old) status = tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < count && status == TN_OK; i++)
        copy_rows(base[i], bytes[i], from, s->members, old);
    free(base);
    free(bytes);
    free(old);
    return status;
}
