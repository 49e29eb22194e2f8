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
     "MODEL is an ONNX file or a .tn program. Without -o a summary of the outputs is printed."},
    {"verify", V_VERIFY, cmd_verify, "PATH…", 1, -1,
     "Run ONNX test folders and compare with their expected outputs",
     "PATH holds model.onnx and test_data_set_*/{input,output}_*.pb. Exit status 1 if any fails."},
    {"inspect", V_INSPECT, cmd_inspect, "MODEL", 1, 1,
     "Show what a model is and what it was compiled to",
     "Inputs, outputs, parameters, work, memory, found structure, fusion groups."},
    {"bench", V_BENCH, cmd_bench, "MODEL", 1, 1,
     "Measure steady latency and compile time of a model",
     "Inputs that are not given are made up. -v prints the time of each step."},
    {"compile", V_COMPILE, cmd_compile, "MODEL", 1, 1,
     "Compile a model to a program file, or to C source",
     "A .tn file is loaded by run, bench and the C API without importer and planner."},
    {"train", V_TRAIN, cmd_train, "CONFIG|MODEL", 1, 1, "Train a model on images or tokens",
     "CONFIG is a JSON file (.json), MODEL a built-in configuration such as resnet18 or\n"
     "llama3_debugmodel."},
    {"doctor", V_DOCTOR, cmd_doctor, "", 0, 0, "Show what was found on this machine",
     "CPU, caches, memory, GPUs, compilers, MPI, NCCL, OpenCL, measured roofs."},
    {"ops", V_OPS, cmd_ops, "", 0, 0, "Show the operations and their rules", NULL},
};
const int cli_verb_count = (int)TN_COUNT(cli_verbs);

static void print_usage(FILE *out) {
    fprintf(out, "usage: tenon VERB [OPTION]… [ARGUMENT]…\n\n");
    for (int i = 0; i < cli_verb_count; i++)
        fprintf(out, "  %-9s %s\n", cli_verbs[i].name, cli_verbs[i].summary);
    fprintf(out,
            "\ntenon VERB --help lists a verb's options; tenon --version tells the version.\n");
}

static const cli_verb *find_verb(const char *name) {
    for (int i = 0; i < cli_verb_count; i++)
        if (strcmp(cli_verbs[i].name, name) == 0) return &cli_verbs[i];
    return NULL;
}

static int unknown_verb(const char *name) {
    const char *names[TN_COUNT(cli_verbs)];
    for (int i = 0; i < cli_verb_count; i++) names[i] = cli_verbs[i].name;
    const char *near = tn_nearest(name, names, cli_verb_count);
    fprintf(stderr, "tenon: error: unknown verb '%s'; ", name);
    if (near)
        fprintf(stderr, "did you mean '%s'?\n", near);
    else
        fprintf(stderr, "tenon help lists what there is\n");
    return 2;
}

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
    fflush(stdout);
    fprintf(stderr, "%stenon: error:%s %s\n", c->error_color ? "\033[1;31m" : "",
            c->error_color ? "\033[0m" : "", *text ? text : tn_status_name(status));
    return c->usage ? 2 : 1;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write */
    const char *word = argc > 1 ? argv[1] : "";
    if (!*word) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        printf("tenon %s\n", TENON_VERSION);
        return 0;
    }
    bool help = strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
    if (help && argc < 3) {
        print_usage(stdout);
        return 0;
    }
    const cli_verb *verb = find_verb(help ? argv[2] : word);
    if (!verb) return unknown_verb(help ? argv[2] : word);

    cli c = {.verb = verb};
    char *ask[] = {(char[]){"--help"}};
    call x = {&c, help ? 1 : argc - 2, help ? ask : argv + 2};
    tn_error err = TN_ERROR_INIT;
    tn_arena_init(&c.arena, tn_allocator_system());
    tn_status status = tn_guard(run_verb, &x, &err);
    int code = exit_status(&c, status, &err);
    tn_arena_deinit(&c.arena);
    return code;
}
