/* Options of recomputation. See train_recompute.h. */
#include "nn/train_recompute.h"

#include <stdio.h>

/* Marks the operations of a list of names between blanks or commas. */
static tn_status read_names(const char *names, bool *keep, tn_error *err) {
    for (;;) {
        char name[64];
        names += strspn(names, " ,");
        int length = (int)strcspn(names, " ,");
        if (length == 0) return TN_OK;
        tn_op op;
        snprintf(name, sizeof name, "%.*s", length, names);
        if (!tn_op_parse(name, &op))
            return tn_error_set(err, TN_INVALID,
                                "recompute.keep: there is no operation '%s'; names are those that "
                                "`tenon ops` prints, such as dot or conv",
                                name);
        keep[op] = true;
        names += length;
    }
}

static tn_status read_selective(const tn_recompute_options *o, tn_recompute *out, tn_error *err) {
    if (o->every < 0 || (o->every > 0) == (o->keep != NULL))
        return tn_error_set(err, TN_INVALID,
                            "selective recomputation needs `every` (blocks, here %d) or `keep` "
                            "(operations), one of the two",
                            o->every);
    out->rule = o->keep ? TN_RECOMPUTE_BY_OPERATION : TN_RECOMPUTE_BY_BLOCK;
    out->every = o->every;
    return o->keep ? read_names(o->keep, out->keep, err) : TN_OK;
}

tn_status tn__recompute_rule(const tn_recompute_options *o, tn_recompute *out, tn_error *err) {
    *out = (tn_recompute){.rule = TN_RECOMPUTE_BY_BLOCK};
    switch (o->mode) {
    case TN_RECOMPUTE_NONE:
    case TN_RECOMPUTE_FULL:
        return TN_OK;
    case TN_RECOMPUTE_SELECTIVE:
        return read_selective(o, out, err);
    case TN_RECOMPUTE_BUDGET:
        if (o->budget < 0)
            return tn_error_set(err, TN_INVALID, "a budget of %lld bytes", (long long)o->budget);
        out->rule = TN_RECOMPUTE_BY_BUDGET;
        out->budget = o->budget;
        return TN_OK;
    }
    return tn_error_set(err, TN_INVALID, "there is no mode of recomputation %d", (int)o->mode);
}
