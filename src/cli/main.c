/* tenon VERB …: finds the verb, parses its options, runs it, turns its status into an exit status:
 * 0 ok, 1 failed, 2 usage. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/nearest.h"
#include "cli/output.h"

const cli_verb cli_verbs[] = {
    {"run", V_RUN, cmd_run, "MODEL", 1, 1, "Compile a model (cached) and run it once",
     "MODEL is an ONNX file or a .tn program. Without -o a summary of the outputs is printed.",
     NULL},
    {"verify", V_VERIFY, cmd_verify, "PATH…", 1, -1,
     "Run ONNX test folders and compare with their expected outputs",
     "PATH holds model.onnx and test_data_set_*/{input,output}_*.pb. Exit status 1 if any fails.",
     NULL},
    {"inspect", V_INSPECT, cmd_inspect, "MODEL", 1, 1,
     "Show what a model is and what it was compiled to",
     "Inputs, outputs, parameters, work, memory, found structure, fusion groups.", NULL},
    {"bench", V_BENCH, cmd_bench, "MODEL", 1, 1,
     "Measure steady latency and compile time of a model",
     "Inputs that are not given are made up. -v prints the time of each step.", NULL},
    {"compile", V_COMPILE, cmd_compile, "MODEL", 1, 1,
     "Compile a model to a program file, or to C source",
     "A .tn file is loaded by run, bench and the C API without importer and planner.", NULL},
    {"train", V_TRAIN, cmd_train, "CONFIG|MODEL", 1, 1, "Train a model on images or tokens",
     "CONFIG is a JSON file (.json), MODEL a built-in configuration such as resnet18 or\n"
     "llama3_debugmodel.",
     NULL},
    {.name = "wide",
     .positional = "ACTION MODEL…",
     .summary = "Run, measure and take apart N models as one",
     .actions = cli_wide_actions},
    {"explore", V_EXPLORE, cmd_explore, "[eval ROWS.json | reproduce]", 0, 2,
     "Search machines and dataflows for the inference of transformers",
     "Without an action: the best machine of a family, with the best dataflow on it, for one use "
     "of a\n"
     "transformer or several. eval prints rows of reference files with Tenon's figures; reproduce\n"
     "runs the evaluation of the H2-LLM paper, 3 models x 4 datasets x 3 batches.",
     NULL},
    {"parse", V_PARSE, cmd_parse, "MODEL", 1, 1,
     "Find the operators of a transformer's layers, for explore",
     "MODEL is an ONNX file, whose graph alone is read (its weights may be missing), a Hugging "
     "Face "
     "folder or\n"
     "config.json, or a built-in workload. -o writes shape.json, operator_graph.json, .gv and "
     ".png; "
     "layers of\n"
     "several kinds go to folders layer1, layer2, ….",
     NULL},
    {"doctor", V_DOCTOR, cmd_doctor, "", 0, 0, "Show what was found on this machine",
     "CPU, caches, memory, GPUs, compilers, MPI, NCCL, OpenCL, measured roofs.", NULL},
    {"ops", V_OPS, cmd_ops, "", 0, 0, "Show the operations and their rules", NULL, NULL},
};
const int cli_verb_count = (int)TN_COUNT(cli_verbs);

/* ---- finding the verb ----------------------------------------------------------------------- */

/* Verbs, or the actions of one, behind the words that they have in common. */
typedef struct words {
    const char *before; /* "tenon", "tenon wide" */
    const char *kind;   /* "verb", "action" */
    const cli_verb *at;
    int count;
} words;

static words all_verbs(void) {
    return (words){"tenon", "verb", cli_verbs, cli_verb_count};
}

static words actions_of(const cli_verb *v) {
    static char before[64];
    words w = {before, "action", v->actions, 0};
    snprintf(before, sizeof before, "tenon %s", v->name);
    while (w.at[w.count].name) w.count++;
    return w;
}

/* The word that tells it from the others: "run" of "wide run". */
static const char *own_word(const cli_verb *v) {
    const char *blank = strchr(v->name, ' ');
    return blank ? blank + 1 : v->name;
}

static void print_usage(const words *w, FILE *out) {
    bool verbs = w->at == cli_verbs;
    fprintf(out, "usage: %s %s [OPTION]… [ARGUMENT]…\n\n", w->before, verbs ? "VERB" : "ACTION");
    for (int i = 0; i < w->count; i++)
        fprintf(out, "  %-9s %s\n", own_word(&w->at[i]), w->at[i].summary);
    fprintf(out, "\n%s %s --help lists %s options%s.\n", w->before, verbs ? "VERB" : "ACTION",
            verbs ? "a verb's" : "its", verbs ? "; tenon --version tells the version" : "");
}

static const cli_verb *find_word(const words *w, const char *name) {
    for (int i = 0; i < w->count; i++)
        if (strcmp(own_word(&w->at[i]), name) == 0) return &w->at[i];
    return NULL;
}

static void unknown_word(const words *w, const char *name) {
    const char *names[TN_COUNT(cli_verbs)];
    for (int i = 0; i < w->count; i++) names[i] = own_word(&w->at[i]);
    const char *near = tn_nearest(name, names, w->count);
    fprintf(stderr, "tenon: error: unknown %s '%s'; ", w->kind, name);
    if (near)
        fprintf(stderr, "did you mean '%s'?\n", near);
    else
        fprintf(stderr, "%s lists what there is\n", w->at == cli_verbs ? "tenon help" : w->before);
}

static bool asks_for_help(const char *word) {
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Takes the words of the verb off the command line. NULL: everything is said, *code is the exit status. */
static const cli_verb *choose_verb(int *argc, char ***argv, bool *help, int *code) {
    words w = all_verbs();
    for (const cli_verb *v = NULL;; w = actions_of(v)) {
        const char *word = *argc > 0 ? **argv : "";
        if (asks_for_help(word) && !*help) {
            *help = true;
            --*argc;
            word = *argc > 0 ? *++*argv : "";
        }
        if (!*word) {
            *code = *help ? 0 : 2;
            print_usage(&w, *help ? stdout : stderr);
            return NULL;
        }
        v = find_word(&w, word);
        if (!v) {
            *code = 2;
            unknown_word(&w, word);
            return NULL;
        }
        --*argc;
        ++*argv;
        if (!v->actions) return v;
    }
}

/* ---- running it ----------------------------------------------------------------------------- */

static tn_status choose_colors(cli *c, tn_error *err) {
    const char *when = c->options.color ? c->options.color : "auto";
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool dumb = (term && strcmp(term, "dumb") == 0) || (no_color && *no_color);
    if (strcmp(when, "always") == 0) {
        c->color = c->error_color = true;
    } else if (strcmp(when, "auto") == 0) {
        c->color = !dumb && isatty(STDOUT_FILENO);
        c->error_color = !dumb && isatty(STDERR_FILENO);
    } else if (strcmp(when, "never") != 0) {
        return cli_usage(c, err, "--color: '%s' is not auto, always or never", when);
    }
    return TN_OK;
}

typedef struct call {
    cli *c;
    int argc;
    char **argv;
} call;

static tn_status run_verb(void *argument, tn_error *err) {
    call *x = argument;
    cli *c = x->c;
    TN_CHECK(cli_parse(c, x->argc, x->argv, err));
    TN_CHECK(choose_colors(c, err));
    tn_log_set_level(c->options.quiet         ? TN_LOG_ERROR
                     : c->options.verbose > 1 ? TN_LOG_DEBUG
                     : c->options.verbose     ? TN_LOG_INFO
                                              : TN_LOG_WARN);
    if (c->options.help) {
        tn_str text;
        tn_str_init(&text);
        cli_help(c, &text);
        fputs(tn_str_text(&text), stdout);
        tn_str_deinit(&text);
        return cli_flush(err);
    }
    TN_CHECK(c->verb->run(c, err));
    return cli_flush(err);
}

static int exit_status(const cli *c, tn_status status, const tn_error *err) {
    if (status == TN_OK) return c->failed ? 1 : 0;
    char text[TN_ERROR_TEXT + TN_ERROR_FRAMES * TN_ERROR_FRAME_TEXT];
    tn_error_format(err, text, sizeof text);
    for (char *p = text; *p; p++) /* names of a model must not steer a terminal */
        if (((unsigned char)*p < ' ' && *p != '\n' && *p != '\t') || *p == 0x7f) *p = '?';
    fflush(stdout);
    fprintf(stderr, "%stenon: error:%s %s\n", c->error_color ? "\033[1;31m" : "",
            c->error_color ? "\033[0m" : "", *text ? text : tn_status_name(status));
    return c->usage ? 2 : 1;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write */
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        printf("tenon %s\n", TENON_VERSION);
        return 0;
    }
    bool help = false;
    int code = 0, count = argc - 1;
    char **rest = argv + 1;
    const cli_verb *verb = choose_verb(&count, &rest, &help, &code);
    if (!verb) return code;

    cli c = {.verb = verb};
    char *ask[] = {(char[]){"--help"}};
    call x = {&c, help ? 1 : count, help ? ask : rest};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&c.arena, tn_allocator_system());
    tn_status status = tn_guard(run_verb, &x, &err);
    code = exit_status(&c, status, &err);
    tn_arena_deinit(&c.arena);
    return code;
}
