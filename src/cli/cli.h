/* What the verbs share: the parsed command line, how to fail, how to print.
 *
 * Data goes to standard output, everything else to standard error. A verb is one function in
 * cmd_<verb>.c; it returns a status and an error, or sets `failed` when it ran but the answer is no
 * (a comparison that does not hold). Memory is the arena's until the process ends. */
#ifndef TENON_CLI_CLI_H
#define TENON_CLI_CLI_H

#include "base/base.h"
#include "base/str.h"

enum {
    V_RUN = 1,
    V_VERIFY = 2,
    V_INSPECT = 4,
    V_BENCH = 8,
    V_COMPILE = 16,
    V_DOCTOR = 32,
    V_OPS = 64,
    V_TRAIN = 128,
    V_WIDE_RUN = 256,
    V_WIDE_BENCH = 512,
    V_WIDE_INSPECT = 1024,
    V_WIDE_EXTRACT = 2048,
    V_WIDE_TRAIN = 4096,
    V_EXPLORE = 8192,
    V_PARSE = 16384,
    V_ALL = 32767,
    V_MEMBERS = V_WIDE_RUN | V_WIDE_BENCH | V_WIDE_INSPECT, /* compiles members as one */
    V_MODEL = V_RUN | V_INSPECT | V_BENCH | V_COMPILE | V_MEMBERS,
    V_INPUTS = V_MODEL,
};

typedef struct cli_list {
    const char **at;
    int count;
} cli_list;

typedef struct cli_options {
#define FLAG                                                     bool
#define COUNT                                                    int
#define INT                                                      int64_t
#define REAL                                                     double
#define TEXT                                                     const char *
#define OPTIONAL                                                 const char *
#define LIST                                                     cli_list
#define OPTION(field, kind, name, letter, argument, verbs, help) kind field;
#include "cli/options.def"
#undef OPTION
#undef FLAG
#undef COUNT
#undef INT
#undef REAL
#undef TEXT
#undef OPTIONAL
#undef LIST
    cli_list positional;
} cli_options;

typedef struct cli cli;
typedef struct cli_verb cli_verb;
struct cli_verb {
    const char *name; /* "run", "wide run" */
    unsigned bit;
    tn_status (*run)(cli *c, tn_error *err);
    const char *positional; /* "MODEL", "PATH…", or "" */
    int least, most;        /* number of them; most -1: any */
    const char *summary;    /* one line */
    const char *text;       /* more, for --help */
    const cli_verb
        *actions; /* of a verb of two words, which has nothing else; the last has no name */
};

struct cli {
    tn_arena arena;
    const cli_verb *verb;
    cli_options options;
    bool color;       /* of standard output */
    bool error_color; /* of standard error */
    bool usage;       /* the failure is one of usage */
    bool failed;      /* the answer is no: exit status 1 without a message */
};

extern const cli_verb cli_verbs[];
extern const int cli_verb_count;
extern const cli_verb cli_wide_actions[];

/* A failure of usage: exit status 2. */
tn_status cli_usage(cli *c, tn_error *err, const char *format, ...) TN_PRINTF(3, 4);
/* Which fields were given on the command line can be told by their value: numbers are 0 or NAN
 * (REAL) when not. */
tn_status cli_parse(cli *c, int argc, char **argv, tn_error *err);
void cli_help(const cli *c, tn_str *out);

tn_status cmd_run(cli *c, tn_error *err);
tn_status cmd_verify(cli *c, tn_error *err);
tn_status cmd_inspect(cli *c, tn_error *err);
tn_status cmd_bench(cli *c, tn_error *err);
tn_status cmd_compile(cli *c, tn_error *err);
tn_status cmd_doctor(cli *c, tn_error *err);
tn_status cmd_ops(cli *c, tn_error *err);
tn_status cmd_train(cli *c, tn_error *err);
tn_status cmd_explore(cli *c, tn_error *err);
tn_status cmd_parse(cli *c, tn_error *err);
tn_status cmd_wide_run(cli *c, tn_error *err);
tn_status cmd_wide_bench(cli *c, tn_error *err);
tn_status cmd_wide_inspect(cli *c, tn_error *err);
tn_status cmd_wide_extract(cli *c, tn_error *err);
tn_status cmd_wide_train(cli *c, tn_error *err);

#endif
