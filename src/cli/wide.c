/* Members from the command line, opened and bound. See wide.h. */
#include "cli/wide.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/tune.h"
#include "cli/values.h"

enum { MOST_MEMBERS = 1 << 20 };

/* ---- where members come from ---------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_weights(const char *path) {
    return ends_with(path, ".safetensors") || ends_with(path, ".npz");
}

/* Behind `--weights FILE` further files may follow as words of their own, as a shell's pattern gives them. */
tn_status cli_roster_read(cli *c, cli_roster *out, tn_error *err) {
    const cli_list *words = &c->options.positional, *weights = &c->options.weights;
    *out =
        (cli_roster){.models = TN_NEW_N(&c->arena, const char *, words->count),
                     .weights = TN_NEW_N(&c->arena, const char *, words->count + weights->count)};
    for (int i = 0; i < weights->count; i++) out->weights[out->weight_count++] = weights->at[i];
    for (int i = 0; i < words->count; i++) {
        if (!is_weights(words->at[i])) {
            out->models[out->model_count++] = words->at[i];
            continue;
        }
        if (weights->count == 0)
            return cli_usage(c, err, "%s: weights are given by --weights FILE…", words->at[i]);
        if (weights->count > 1)
            return cli_usage(
                c, err, "%s: files of weights come behind one --weights, or each behind its own",
                words->at[i]);
        out->weights[out->weight_count++] = words->at[i];
    }
    if (out->model_count == 0)
        return cli_usage(c, err, "MODEL is missing; tenon %s --help tells more", c->verb->name);
    if (out->model_count > 1 && out->weight_count > 0)
        return cli_usage(c, err, "--weights are those of one MODEL; %d are given",
                         out->model_count);
    out->same_weights = c->options.same_weights;
    if (out->same_weights && (out->model_count > 1 || out->weight_count > 0))
        return cli_usage(c, err, "--same-weights is for members of one MODEL and no other files");
    if (out->model_count > 1) out->fixed = out->model_count;
    if (out->weight_count > 0) out->fixed = out->weight_count;
    return TN_OK;
}

tn_wide_member cli_roster_member(const cli_roster *r, int i) {
    tn_wide_member m = {.model = r->models[r->model_count > 1 ? i : 0]};
    if (r->weight_count) {
        m.weights = r->weights[i];
    } else if (r->fixed == 0 && !r->same_weights) {
        m.perturbed = true;
        m.seed = (uint64_t)i;
    }
    return m;
}

/* ---- how many ------------------------------------------------------------------------------- */

static tn_status check_size(cli *c, const cli_roster *r, bool several, long long n, tn_error *err) {
    if (n == 0) return cli_usage(c, err, "--n: 0 members are no model; expected a number from 1");
    if (n > MOST_MEMBERS)
        return cli_usage(c, err, "--n: %lld members are too many; at most %d", n, MOST_MEMBERS);
    if (r->fixed == 0 || n == r->fixed || (several && n == 1)) return TN_OK;
    return cli_usage(c, err, "--n: %lld members, but %d %s given", n, r->fixed,
                     r->fixed == 1     ? "file of weights is"
                     : r->weight_count ? "files of weights are"
                                       : "models are");
}

/* "1,2,4" */
static tn_status read_sizes(cli *c, const cli_roster *r, bool several, int *out, int *count,
                            tn_error *err) {
    for (const char *p = c->options.n;; p++) {
        char *end;
        errno = 0;
        long long n = strtoll(p, &end, 10);
        bool number = *p >= '0' && *p <= '9' && !errno && (*end == ',' || !*end);
        if (!number)
            return cli_usage(c, err, "--n: '%s' is not %s", c->options.n,
                             several ? "a list of whole numbers such as 1,2,4" : "a whole number");
        TN_CHECK(check_size(c, r, several, n, err));
        out[(*count)++] = (int)n;
        p = end;
        if (!*p) return TN_OK;
    }
}

tn_status cli_roster_sizes(cli *c, const cli_roster *r, bool several, int **out, int *count,
                           tn_error *err) {
    static const int table[] = {1, 2, 4, 8, 16, 32, 100};
    const char *text = c->options.n;
    int *sizes = TN_NEW_N(&c->arena, int, text ? strlen(text) + 1 : TN_COUNT(table));
    *out = sizes;
    *count = 0;
    if (text) {
        TN_CHECK(read_sizes(c, r, several, sizes, count, err));
        if (!several && *count > 1)
            return cli_usage(c, err, "--n: one number is expected, '%s' is a list", text);
        return TN_OK;
    }
    if (r->fixed) {
        if (several && r->fixed > 1) sizes[(*count)++] = 1;
        sizes[(*count)++] = r->fixed;
        return TN_OK;
    }
    if (!several) return cli_usage(c, err, "how many members? --n N says so");
    memcpy(sizes, table, sizeof table);
    *count = (int)TN_COUNT(table);
    return TN_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* The names of --shared=A,B. */
static void read_shared(cli *c, tn_wide_options *o) {
    const char *text = c->options.shared;
    if (!text) return;
    o->share_all = !*text;
    const char **names = TN_NEW_N(&c->arena, const char *, strlen(text) + 1);
    for (const char *p = text; *p; p += *p == ',') {
        size_t len = strcspn(p, ",");
        names[o->shared_count++] = tn_arena_printf(&c->arena, "%.*s", (int)len, p);
        p += len;
    }
    o->shared = names;
}

static tn_status describe_ports(cli *c, cli_wide *w, tn_error *err) {
    w->in = (cli_binding){.count = tn_wide_input_count(w->wide)};
    w->in.ports = TN_NEW_N(&c->arena, tn_port_info, w->in.count);
    w->shared = TN_NEW_N(&c->arena, bool, w->in.count);
    w->out_count = tn_wide_output_count(w->wide);
    w->out = TN_NEW_N(&c->arena, tn_port_info, w->out_count);
    w->outputs = TN_NEW_N(&c->arena, tn_buffer, w->out_count);
    tn_status status = TN_OK;
    for (int i = 0; i < w->in.count && status == TN_OK; i++) {
        status = tn_wide_input(w->wide, i, &w->in.ports[i]);
        w->shared[i] = tn_wide_input_shared(w->wide, i);
    }
    for (int i = 0; i < w->out_count && status == TN_OK; i++)
        status = tn_wide_output(w->wide, i, &w->out[i]);
    return status == TN_OK ? TN_OK : tn_error_set(err, status, "out of memory");
}

/* Members of unequal structure run as well, but not as one. */
static void note_groups(cli *c, const cli_wide *w) {
    int count = tn_wide_group_count(w->wide);
    if (count < 2 || c->options.quiet) return;
    fprintf(stderr, "%d groups of members differ in structure and run one after the other\n",
            count);
    for (int g = 1; g < count; g++) {
        tn_wide_group_info info;
        if (tn_wide_group(w->wide, g, &info) != TN_OK) return;
        fprintf(stderr, "  member %d%s: %s\n", info.members[0],
                info.count > 1 ? tn_arena_printf(&c->arena, " and %d more", info.count - 1) : "",
                info.difference);
    }
}

tn_status cli_wide_open(cli *c, const cli_roster *r, int first, int n, cli_wide *w, tn_error *err) {
    *w = (cli_wide){.n = n, .options = TN_WIDE_OPTIONS_INIT};
    w->members = TN_NEW_N(&c->arena, tn_wide_member, n);
    for (int i = 0; i < n; i++) w->members[i] = cli_roster_member(r, first + i);
    TN_CHECK(cli_model_options(c, &w->options.compile, &w->dump, err));
    w->options.same_randoms = c->options.same_randoms;
    w->options.layout = c->options.packed ? TN_WIDE_PACKED : TN_WIDE_STACKED;
    read_shared(c, &w->options);
    TN_CHECK(tn_wide_open(w->members, n, &w->options, &w->wide, err));
    TN_CHECK(describe_ports(c, w, err));
    note_groups(c, w);
    return TN_OK;
}

void cli_wide_close(cli_wide *w) {
    tn_wide_release(w->wide);
    tn_str_deinit(&w->dump.stages);
    w->wide = NULL;
}

/* ---- inputs --------------------------------------------------------------------------------- */

/* What a caller who forgot the members would like to know; all else the run tells. */
static tn_status check_members(cli *c, const cli_wide *w, int i, tn_error *err) {
    const tn_buffer *b = &w->in.inputs[i];
    const tn_port_info *p = &w->in.ports[i];
    const char *got = cli_type_text(c, b->dtype, b->rank, b->dim);
    bool stacked = w->options.layout == TN_WIDE_STACKED;
    if (w->shared[i]) return TN_OK;
    if (stacked && b->rank == p->rank - 1)
        return tn_error_set(err, TN_INVALID,
                            "input '%s': %s has no axis of members; give it %d times along a new "
                            "axis 0, or once for all by --shared=%s",
                            p->name, got, w->n, p->name);
    if (stacked && b->rank == p->rank && b->dim[0] != w->n)
        return tn_error_set(err, TN_INVALID,
                            "input '%s': %s is of %lld members along axis 0; there are %d", p->name,
                            got, (long long)b->dim[0], w->n);
    if (!stacked && b->rank == p->rank && p->dim[1] >= 0 && b->dim[1] != p->dim[1])
        return tn_error_set(err, TN_INVALID,
                            "input '%s': %s has %lld along axis 1; %d members of %lld take %lld",
                            p->name, got, (long long)b->dim[1], w->n, (long long)p->dim[1] / w->n,
                            (long long)p->dim[1]);
    if (!stacked && b->rank == p->rank && p->dim[1] < 0 && b->dim[1] % w->n)
        return tn_error_set(err, TN_INVALID,
                            "input '%s': %s has %lld along axis 1, which %d members do not divide",
                            p->name, got, (long long)b->dim[1], w->n);
    return TN_OK;
}

tn_status cli_wide_bind(cli *c, cli_wide *w, cli_missing missing, const char *seed, tn_error *err) {
    tn_wide_group_info first;
    if (tn_wide_group(w->wide, 0, &first) == TN_OK) cli_bind_needs(c, &w->in, first.model);
    TN_CHECK(cli_bind(c, &w->in, missing, seed, err));
    for (int i = 0; i < w->in.count; i++) TN_CHECK(check_members(c, w, i, err));
    return TN_OK;
}

tn_status cli_wide_run(cli_wide *w, tn_error *err) {
    return tn_wide_run(w->wide, w->in.inputs, w->in.count, w->outputs, w->out_count, err);
}

/* ---- members of a value --------------------------------------------------------------------- */

static tn_status unpack(cli *c, int n, const tn_buffer *whole, tn_buffer *part, tn_error *err) {
    for (int i = 0; i < n; i++) {
        int64_t dim[TN_MAX_RANK];
        memcpy(dim, whole->dim, sizeof dim);
        dim[1] /= n;
        tn_array a = tn_array_new(&c->arena, whole->dtype, whole->rank, dim);
        part[i] = cli_buffer_of(&a);
        part[i].size = tn_array_bytes(&a);
    }
    return tn_wide_unpack(whole, part, n, err);
}

tn_status cli_wide_parts(cli *c, const cli_wide *w, const tn_buffer *whole, tn_buffer *part,
                         tn_error *err) {
    if (w->options.layout == TN_WIDE_PACKED) return unpack(c, w->n, whole, part, err);
    tn_array a = cli_array_of(whole);
    a.rank--;
    memmove(a.dim, a.dim + 1, sizeof a.dim[0] * (size_t)a.rank);
    size_t bytes = tn_array_bytes(&a);
    for (int i = 0; i < w->n; i++) {
        part[i] = cli_buffer_of(&a);
        part[i].data = (char *)whole->data + bytes * (size_t)i;
    }
    return TN_OK;
}

/* Members that are all of them, or next to each other, are not copied. */
static tn_status gather(cli *c, const cli_wide *w, const tn_wide_group_info *g,
                        const tn_buffer *whole, tn_buffer *out, tn_error *err) {
    tn_buffer *part = TN_NEW_N(&c->arena, tn_buffer, w->n);
    tn_buffer *own = TN_NEW_N(&c->arena, tn_buffer, g->count);
    TN_CHECK(cli_wide_parts(c, w, whole, part, err));
    for (int k = 0; k < g->count; k++) own[k] = part[g->members[k]];
    bool packed = w->options.layout == TN_WIDE_PACKED;
    tn_array a = cli_array_of(&own[0]);
    int64_t dim[TN_MAX_RANK];
    memcpy(dim, whole->dim, sizeof dim);
    dim[packed] = (packed ? a.dim[1] : 1) * g->count;
    tn_array all = tn_array_new(&c->arena, a.dtype, whole->rank, dim);
    *out = cli_buffer_of(&all);
    out->size = tn_array_bytes(&all);
    if (packed) return tn_wide_pack(own, g->count, out, err);
    for (int k = 0; k < g->count; k++) {
        size_t bytes = tn_array_bytes(&a);
        if (bytes) memcpy((char *)all.data + bytes * (size_t)k, own[k].data, bytes);
    }
    return TN_OK;
}

tn_status cli_wide_group_inputs(cli *c, const cli_wide *w, const tn_wide_group_info *g,
                                tn_buffer *out, tn_error *err) {
    for (int i = 0; i < w->in.count; i++) {
        out[i] = w->in.inputs[i];
        if (g->count < w->n && !w->shared[i])
            TN_CHECK(gather(c, w, g, &w->in.inputs[i], &out[i], err));
    }
    return TN_OK;
}

/* ---- tuning --------------------------------------------------------------------------------- */

static tn_status tune_groups(cli *c, cli_wide *w, const cli_roster *r, tn_error *err) {
    tn_buffer *in = TN_NEW_N(&c->arena, tn_buffer, w->in.count);
    for (int g = 0; g < tn_wide_group_count(w->wide); g++) {
        tn_wide_group_info info;
        TN_CHECK(tn_wide_group(w->wide, g, &info));
        TN_CHECK(cli_wide_group_inputs(c, w, &info, in, err));
        const char *name = tn_arena_printf(&c->arena, "%d members of %s", info.count, r->models[0]);
        TN_CHECK(cli_tune_model(c, info.model, name, in, w->in.count, err));
    }
    return TN_OK;
}

tn_status cli_wide_tune_first(cli *c, const cli_roster *r, int n, cli_missing missing,
                              const char *seed, tn_error *err) {
    bool wanted;
    cli_wide w = {0};
    TN_CHECK(cli_tune_wanted(c, &wanted, err));
    if (!wanted) return TN_OK;
    tn_status status = cli_wide_open(c, r, 0, n, &w, err);
    if (status == TN_OK) status = cli_wide_bind(c, &w, missing, seed, err);
    if (status == TN_OK) status = tune_groups(c, &w, r, err);
    cli_wide_close(&w);
    return status;
}

const char *cli_strategy_name(tn_wide_strategy s) {
    static const char *const names[] = {
        [TN_WIDE_ONCE] = "once",         [TN_WIDE_ROWS] = "rows",
        [TN_WIDE_COLUMNS] = "columns",   [TN_WIDE_BATCHED] = "batched",
        [TN_WIDE_ELEMENTS] = "elements", [TN_WIDE_LOOP] = "loop",
        [TN_WIDE_ALONE] = "alone",
    };
    return names[s];
}

json_t *cli_strategy_json(const tn_wide_node_info *n) {
    return json_pack("{s:s, s:s, s:s, s:I}", "node", n->node, "op", n->op, "strategy",
                     cli_strategy_name(n->strategy), "piece", (json_int_t)n->piece);
}
