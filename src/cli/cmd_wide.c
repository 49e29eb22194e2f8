/* tenon wide ACTION MODEL…: N models as one. The actions; each is a file cmd_wide_<action>.c. */
#include "cli/cli.h"

#define MEMBERS                                                                                    \
    "With one MODEL, member i has its float weights times 1 + 0.01 · normal(seed i), or with\n"   \
    "--weights those of file i; with --same-weights all have its own and differ in random\n"       \
    "numbers. Several MODELs are the members."

const cli_verb cli_wide_actions[] = {
    {"wide run", V_WIDE_RUN, cmd_wide_run, "MODEL…", 1, -1, "Run N models as one program",
     MEMBERS
     "\nInputs have a first axis of members, unless --packed or --shared; without -o a summary\n"
     "of the outputs is printed.",
     NULL},
    {"wide bench", V_WIDE_BENCH, cmd_wide_bench, "MODEL…", 1, -1,
     "Measure N models as one beside a loop over N programs",
     MEMBERS
     "\nEvery member is compared with its model alone first. Without --n: 1, 2, 4, 8, 16, 32, "
     "100.",
     NULL},
    {"wide inspect", V_WIDE_INSPECT, cmd_wide_inspect, "MODEL…", 1, -1,
     "Show the groups, how each operation is done for all members, memory", MEMBERS, NULL},
    {"wide train", V_WIDE_TRAIN, cmd_wide_train, "CONFIG|MODEL", 1, 1,
     "Train N members of a model as one program, with numbers of their own",
     "optimizer.lr, .weight_decay, .momentum and .clip_norm may have a value for each member:\n"
     "1e-3,1e-2 or, for as many as --n says, a range 1e-4:1e-1, evenly or by logarithms (:log).",
     NULL},
    {"wide extract", V_WIDE_EXTRACT, cmd_wide_extract, "MODEL…", 1, -1,
     "Write one member as an ONNX file", MEMBERS, NULL},
    {0},
};
