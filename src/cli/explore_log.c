/* result.log: what the published framework writes about the best dataflow, line by line. */
#include <stdio.h>

#include "base/io.h"
#include "cli/explore.h"

static const char *kilobytes(cli *c, double bytes) {
    return tn_arena_printf(&c->arena, "%.10g", bytes / 1024);
}

tn_status explore_write_log(cli *c, const char *folder, const tn_evaluation *e, const tn_machine *m,
                            tn_error *err) {
    tn_arena *a = &c->arena;
    const char *path = tn_arena_printf(a, "%s/result.log", folder);
    const char *text = tn_arena_printf(a,
                                       "Best idv latency is %s (per layer).\n"
                                       "Prefill latency is %s (per layer).\n"
                                       "Decoding latency is %s (per layer).\n",
                                       cli_shortest(c, e->total), cli_shortest(c, e->prefill),
                                       cli_shortest(c, e->decode));
    if (m) {
        const tn_near_memory *u = &m->near_memory;
        text =
            tn_arena_printf(a,
                            "%sPE config %d fpus @ %.1fGHz, hybrid bonding bandwidth %sGB/s.\n"
                            "Input buffer size %sKB, weight buffer size %sKB, output buffer size "
                            "%.2fKB, NMP channel num %d.\n",
                            text, u->fpus, u->clock / 1e9, cli_shortest(c, u->bandwidth / 1e9),
                            kilobytes(c, u->input_buffer), kilobytes(c, u->weight_buffer),
                            u->output_buffer / 1024, u->channels);
    }
    TN_TRY(err, tn_make_dirs(folder, 0777, err), "the folder of result.log");
    return tn_file_write(path, text, strlen(text), false, err);
}
