/* The figures of the H²-LLM paper (ISCA '25) with the numbers of a reproduction: as the artifact plots them. */
#include <math.h>

#include "cli/explore_reproduce.h"

enum { MOST_SERIES = 6 };

/* What a figure shows of each design at each point: the speed-up over `base`, whose figures and theirs are first
 * divided by factors, or the share of prefill. */
typedef struct figure {
    const char *title, *about;
    int base; /* −1: share of prefill */
    int count;
    struct {
        int design;
        double factor;
        double paper[3]; /* of all points, decode-heavy and prefill-heavy ones; 0: none */
    } series[MOST_SERIES];
    double clip;   /* 0: none */
    bool averages; /* these alone */
} figure;

/* The factors are those of the artifact's plots: what its simulator loses in each design. */
static const figure figures[] = {
    {"End to end (figure 10, top)",
     "Speed-up over ID-NMP+, cut at 4.8 as published.",
     REPRODUCE_ID_NMP_PLUS,
     3,
     {{REPRODUCE_CP, 1, {0.27}}, {REPRODUCE_ID_NMP, 1, {0}}, {REPRODUCE_H2, 1, {2.71, 3.81, 1.94}}},
     4.8,
     false},
    {"Dataflows (figure 12)",
     "Speed-up over FC-NMP on one machine, with the artifact's factors of efficiency.",
     REPRODUCE_FC,
     4,
     {{REPRODUCE_ATTN, 0.85, {0}},
      {REPRODUCE_SPLIT, 0.85, {0}},
      {REPRODUCE_CC, 0.9, {1.24}},
      {REPRODUCE_H2, 0.95, {1.37}}},
     0,
     false},
    {"Dataflows, ablation (figure 13)",
     "Geometric means of the speed-up over ID-NMP+, without factors. The union of both spaces with "
     "any ratio of "
     "fission is not in the paper.",
     REPRODUCE_ID_NMP_PLUS,
     6,
     {{REPRODUCE_ATTN, 1, {0.28}},
      {REPRODUCE_SPLIT, 1, {0.31}},
      {REPRODUCE_FC, 1, {1.98}},
      {REPRODUCE_CC, 1, {2.45}},
      {REPRODUCE_H2, 1, {2.71, 3.81, 1.94}},
      {REPRODUCE_UNION, 1, {0}}},
     0,
     true},
    {"Share of prefill (figure 14)",
     "Of the whole latency. The paper tells of 12 to 26 % where decoding is heavy (HE, SG) and of "
     "36 to 90 % where "
     "prefill is (LB, LG).",
     -1,
     2,
     {{REPRODUCE_CC, 1, {0}}, {REPRODUCE_H2, 1, {0}}},
     0,
     false},
    {"Architectures (figure 15)",
     "Speed-up of the best of 64 machines over the fixed one, cut at 2.2 as published.",
     REPRODUCE_H2,
     1,
     {{REPRODUCE_FULL, 1, {1.38}}},
     2.2,
     false},
};

static double factor_of_base(const figure *f) {
    return f->base == REPRODUCE_FC ? 0.95 : 1;
}

static double value_at(const figure *f, const reproduction *r, int series, int point) {
    const tn_evaluation *e = &r->at[f->series[series].design][point].evaluation;
    if (f->base < 0) return e->prefill / e->total;
    return r->at[f->base][point].evaluation.total / factor_of_base(f) /
           (e->total / f->series[series].factor);
}

static json_t *point_group(cli *c, const figure *f, const reproduction *r, int point) {
    json_t *values = json_array();
    for (int s = 0; s < f->count; s++)
        json_array_append_new(values, cli_json_number(value_at(f, r, s, point)));
    return json_pack("{s:s, s:o}", "name", reproduce_point_name(c, point), "values", values);
}

/* Geometric means, which carry the paper's numbers. */
static json_t *mean_group(const figure *f, const reproduction *r, int part) {
    static const char *const names[] = {"mean: all", "HE, SG", "LB, LG"};
    json_t *values = json_array(), *paper = json_array();
    for (int s = 0; s < f->count; s++) {
        double v = reproduce_speedup(r, f->series[s].design, f->base, (reproduce_part)part, false) *
                   f->series[s].factor / factor_of_base(f);
        json_array_append_new(values, cli_json_number(v));
        json_array_append_new(
            paper, cli_json_number(f->series[s].paper[part] > 0 ? f->series[s].paper[part] : NAN));
    }
    return json_pack("{s:s, s:o, s:o}", "name", names[part], "values", values, "paper", paper);
}

static json_t *figure_json(cli *c, const figure *f, const reproduction *r) {
    json_t *series = json_array(), *groups = json_array();
    for (int s = 0; s < f->count; s++)
        json_array_append_new(series, json_string(reproduce_design_name(f->series[s].design)));
    for (int i = 0; i < REPRODUCE_POINTS && !f->averages; i++)
        json_array_append_new(groups, point_group(c, f, r, i));
    for (int part = 0; part < 3 && f->base >= 0; part++)
        json_array_append_new(groups, mean_group(f, r, part));
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "title", f->title, "about", f->about,
                     "series", series, "groups", groups, "clip",
                     cli_json_number(f->clip > 0 ? f->clip : NAN), "line",
                     cli_json_number(f->base >= 0 ? 1 : NAN));
}

json_t *reproduce_page_json(cli *c, const reproduction *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < TN_COUNT(figures); i++)
        json_array_append_new(list, figure_json(c, &figures[i], r));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "kind", "reproduce", "title",
                     "H²-LLM: the paper's evaluation, solved exactly", "about",
                     "Three models, four datasets (HumanEval HE, ShareGPT SG, LongBench LB, LooGLE "
                     "LG) and batches "
                     "of 1, 4 and 16, context 2048, f16, on the artifact's cost model.",
                     "means_about",
                     "Speed-ups over 36 points, or those that are named. The paper's numbers are "
                     "of a simulator of "
                     "its own.",
                     "figures", list);
}
