/* Comparing members' weights. See compare.h. */
#include "wide/compare.h"

static tn_status check_structure(tn__wide_reader *r, const tn__wide_file *file, tn_error *err) {
    tn_str text;
    if (r->checked == file) return TN_OK;
    if (!file->import.graph)
        return tn_error_set(err, TN_INVALID, "needs values that the first member does not need: %s",
                            file->import.need_reason ? file->import.need_reason : "");
    tn_str_init_with(&text, tn_arena_allocator(file->import.graph->arena));
    if (!tn__structure_difference(r->structure, &file->structure, &text)) {
        r->checked = file;
        return TN_OK;
    }
    return tn_error_set(err, TN_INVALID, "%s in member 0 (%s), for these inputs",
                        tn_str_text(&text), r->members[0].model);
}

tn_status tn__wide_read(tn__wide_reader *r, int member, tn__wide_values *out, tn_error *err) {
    tn__wide_file *file;
    const tn_wide_member *x = &r->members[member];
    tn_status status = tn__wide_files_get(r->files, x->model, &file, err);
    if (status == TN_OK) status = check_structure(r, file, err);
    if (status == TN_OK) status = tn__wide_values_open(out, file, x, err);
    return tn__wide_in_member(status, member, x, err);
}

void tn__wide_read_done(tn__wide_values *v) {
    if (!v->file) return;
    for (uint32_t i = 0; i < v->file->import.maps.len; i++)
        tn_file_map_drop(&v->file->import.maps.data[i]);
    tn__wide_values_close(v);
}

void tn__wide_setting(const tn__wide_file *file, uint32_t k, tn_array *out) {
    tn_graph_constant(file->import.graph, file->structure.settings.data[k], out);
}

/* Notes what of `other` differs from `first`; whether everything does by now. */
static bool compare(const tn__wide_reader *r, tn__wide_shares *x) {
    const tn__structure *s = &r->first.file->structure, *t = &r->other.file->structure;
    bool all = true;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        if (!x->weight[k])
            x->weight[k] = !tn__wide_values_equal(&r->first, s->weights.data[k], &r->other,
                                                  t->weights.data[k]);
        all = all && x->weight[k];
    }
    for (uint32_t k = 0; k < s->settings.len; k++) {
        tn_array a, b;
        tn__wide_setting(r->first.file, k, &a);
        tn__wide_setting(r->other.file, k, &b);
        size_t bytes = tn_array_bytes(&a);
        if (!x->setting[k]) x->setting[k] = bytes && memcmp(a.data, b.data, bytes) != 0;
        all = all && x->setting[k];
    }
    return all;
}

static void count(const tn__wide_reader *r, tn__wide_shares *x) {
    const tn__structure *s = &r->first.file->structure;
    for (uint32_t k = 0; k < s->weights.len; k++) {
        const tn_array *w = &s->import->weights.data[s->weights.data[k]].array;
        *(x->weight[k] ? &x->own : &x->shared) += tn_array_count(w);
        *(x->weight[k] ? &x->own_bytes : &x->shared_bytes) += tn_array_bytes(w);
    }
}

tn_status tn__wide_compare(tn__wide_reader *r, tn_arena *arena, tn__wide_shares *out,
                           tn_error *err) {
    *out = (tn__wide_shares){.structure = r->structure,
                             .weight = TN_NEW_N(arena, bool, r->structure->weights.len),
                             .setting = TN_NEW_N(arena, bool, r->structure->settings.len)};
    TN_CHECK(tn__wide_read(r, 0, &r->first, err));
    bool all = false;
    for (int i = 1; i < r->count && !all; i++) {
        TN_CHECK(tn__wide_read(r, i, &r->other, err));
        all = compare(r, out);
        tn__wide_read_done(&r->other);
    }
    for (uint32_t k = 0; k < r->structure->weights.len && r->members[0].perturbed; k++)
        out->weight[k] = true;
    count(r, out);
    return TN_OK;
}
