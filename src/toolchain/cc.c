/* The system's C compiler. See cc.h. */
#include "toolchain/cc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/io.h"
#include "toolchain/process.h"

enum {
    MAX_ARGS = 192,
    WORDS_SIZE = 1024,
    PATH_SIZE = 4200,
    SAID_LINES = 8,
    SAID_BYTES = 900,
    PROBE_SECONDS = 20
};

const char *tn_cc_flags(void) {
    /* The parameter bounds the search for what a load may alias, which else takes most of the time in
     * long kernels without loops, and finds nothing more there. */
    return "-O2 -std=gnu11 -ffp-contract=off -fno-math-errno -fno-trapping-math -fwrapv -fPIC "
           "--param=sccvn-max-alias-queries-per-access=32";
}

/* ---- argument lists ------------------------------------------------------------------------- */

typedef struct arg_list {
    const char *argv[MAX_ARGS + 1]; /* NULL-terminated */
    int count;
    char words[WORDS_SIZE]; /* what add_words split */
    size_t used;
} arg_list;

static void add_arg(arg_list *a, const char *text) {
    TN_ASSERT(a->count < MAX_ARGS);
    a->argv[a->count++] = text;
    a->argv[a->count] = NULL;
}

/* Adds each word of `text`; at most one text per list is that long. */
static void add_words(arg_list *a, const char *text) {
    for (size_t len; text && *(text += strspn(text, " ")); text += len) {
        len = strcspn(text, " ");
        TN_ASSERT(a->used + len + 1 <= sizeof a->words);
        char *word = a->words + a->used;
        memcpy(word, text, len);
        word[len] = 0;
        a->used += len + 1;
        add_arg(a, word);
    }
}

static void start_args(arg_list *a, const tn_cc *cc) {
    *a = (arg_list){0};
    for (int i = 0; i < cc->words; i++) add_arg(a, cc->word[i]);
}

static void add_kernel_flags(arg_list *a, const char *target_flags) {
    add_words(a, tn_cc_flags());
    add_arg(a, "-w");
    add_arg(a, "-pipe");
    add_words(a, target_flags);
}

/* ---- small files ---------------------------------------------------------------------------- */

static void path_in(char out[PATH_SIZE], const char *folder, const char *name) {
    snprintf(out, PATH_SIZE, "%s/%s", folder, name);
}

static tn_status append_file(const char *path, tn_str *out, tn_error *err) {
    tn_file_map map;
    TN_TRY(err, tn_file_map_open(&map, path, err), "while reading what the compiler wrote");
    if (map.size) tn_str_append_n(out, (const char *)map.data, map.size);
    tn_file_map_close(&map);
    return TN_OK;
}

/* The first lines of a file, without the end of the last one. */
static void read_said(const char *path, char out[SAID_BYTES]) {
    size_t len = 0;
    FILE *f = fopen(path, "re");
    if (f) {
        len = fread(out, 1, SAID_BYTES - 1, f);
        fclose(f);
    }
    out[len] = 0;
    char *p = out;
    for (int line = 0; line < SAID_LINES && (p = strchr(p, '\n')); line++) p++;
    if (p) *p = 0;
    for (len = strlen(out); len > 0 && out[len - 1] == '\n';) out[--len] = 0;
}

/* ---- finding -------------------------------------------------------------------------------- */

static bool is_program(const char *path, struct stat *st) {
    return stat(path, st) == 0 && S_ISREG(st->st_mode) && access(path, X_OK) == 0;
}

/* Looks a name up in PATH; a name with a slash is a path already. */
static bool find_program(const char *name, char *out, size_t size, struct stat *st) {
    if (strchr(name, '/')) {
        char *full = realpath(name, NULL);
        int len = snprintf(out, size, "%s", full ? full : name);
        free(full);
        return len > 0 && (size_t)len < size && is_program(out, st);
    }
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        size_t part = strcspn(p, ":");
        int len = snprintf(out, size, "%.*s/%s", (int)part, p, name);
        if (part > 0 && len > 0 && (size_t)len < size && is_program(out, st)) return true;
        p += part + (p[part] == ':');
    }
    return false;
}

/* Splits `text` at blanks into words behind the program's path. */
static tn_status set_command(tn_cc *cc, const char *text, struct stat *st, tn_error *err) {
    char name[TN_CC_COMMAND];
    const char *blanks = " \t\n";
    text += strspn(text, blanks);
    size_t len = strcspn(text, blanks);
    if (len >= sizeof name || strlen(text) >= TN_CC_COMMAND / 2)
        return tn_error_set(err, TN_INVALID, "environment variable CC is too long");
    memcpy(name, text, len);
    name[len] = 0;
    if (!len || !find_program(name, cc->command, TN_CC_COMMAND / 2, st))
        return tn_error_set(err, TN_NOT_FOUND, "no program '%s'", name);
    size_t used = strlen(cc->command) + 1;
    cc->words = 0;
    cc->word[cc->words++] = cc->command;
    for (text += len; *(text += strspn(text, blanks)); text += len) {
        len = strcspn(text, blanks);
        if (cc->words == TN_CC_WORDS)
            return tn_error_set(err, TN_INVALID, "environment variable CC has over %d words",
                                TN_CC_WORDS);
        memcpy(cc->command + used, text, len);
        cc->command[used + len] = 0;
        cc->word[cc->words++] = cc->command + used;
        used += len + 1;
    }
    return TN_OK;
}

static tn_status locate(tn_cc *cc, struct stat *st, tn_error *err) {
    static const char *const names[] = {"cc", "gcc", "clang"};
    const char *wanted = getenv("CC");
    if (wanted && wanted[strspn(wanted, " \t")]) {
        TN_TRY(err, set_command(cc, wanted, st, err), "environment variable CC is '%s'", wanted);
        return TN_OK;
    }
    for (size_t i = 0; i < TN_COUNT(names); i++)
        if (set_command(cc, names[i], st, NULL) == TN_OK) return TN_OK;
    return tn_error_set(err, TN_NOT_FOUND,
                        "no C compiler: neither cc, gcc nor clang is in PATH (apt-get install gcc, "
                        "or set CC)");
}

/* Runs the compiler with --version and appends what it printed. */
static tn_status ask_version(const tn_cc *cc, tn_str *said, tn_error *err) {
    char folder[PATH_SIZE - 64], output[PATH_SIZE];
    TN_CHECK(tn_temp_folder(folder, sizeof folder, NULL, err));
    path_in(output, folder, "said");
    arg_list a;
    start_args(&a, cc);
    add_arg(&a, "--version");
    tn_process p = {.argv = a.argv, .output = output, .folder = folder};
    tn_status status = tn_processes_run(&p, 1, 1, PROBE_SECONDS, err);
    if (status == TN_OK && (p.timed_out || p.exit_code > 0)) {
        char text[SAID_BYTES];
        read_said(output, text);
        status = tn_error_set(err, TN_TOOLCHAIN, "%s failed: %s", cc->word[0], text);
    }
    if (status == TN_OK) status = append_file(output, said, err);
    tn_temp_folder_remove(folder);
    return status;
}

/* ---- what is remembered of a compiler ------------------------------------------------------- */

typedef struct memo_args {
    const tn_cc *cc;
    const char *what, *flags, *text;
    tn_str key;
} memo_args;

/* Everything that tells one compiler from another without running it, then the question. */
static tn_status memo_key(void *argument, tn_error *err) {
    (void)err;
    memo_args *x = argument;
    tn_str_appendf(&x->key, "tenon compiler 1\n%s\n%s\n%s\n%llu %llu\n", x->what, x->flags, x->text,
                   (unsigned long long)x->cc->size, (unsigned long long)x->cc->mtime_ns);
    for (int i = 0; i < x->cc->words; i++) tn_str_appendf(&x->key, "%s\n", x->cc->word[i]);
    return TN_OK;
}

/* False when memory is short: nothing is remembered then. */
static bool memo_name(const tn_cc *cc, const char *what, const char *flags, const char *text,
                      char out[80]) {
    memo_args x = {.cc = cc, .what = what, .flags = flags, .text = text};
    tn_str_init(&x.key);
    bool made = tn_guard(memo_key, &x, NULL) == TN_OK;
    if (made) {
        tn_sha256_hex(x.key.data, x.key.len, out);
        strcpy(out + 64, ".cc");
    }
    tn_str_deinit(&x.key);
    return made;
}

static tn_status find_version(tn_cc *cc, tn_cache *memo, tn_str *said, tn_error *err) {
    char name[80];
    tn_cache_entry entry;
    if (memo && !memo_name(cc, "version", "", "", name)) memo = NULL;
    if (memo && tn_cache_get(memo, name, &entry)) {
        cc->remembered = true;
        tn_str_append_n(said, (const char *)entry.data, entry.size);
        tn_cache_entry_close(&entry);
    } else {
        TN_CHECK(ask_version(cc, said, err));
        if (memo) tn_cache_put(memo, name, tn_str_text(said), said->len);
    }
    const char *text = tn_str_text(said);
    snprintf(cc->version, sizeof cc->version, "%.*s", (int)strcspn(text, "\n"), text);
    return TN_OK;
}

static void set_identity(tn_cc *cc, tn_str *text) {
    tn_str_clear(text);
    tn_str_appendf(text, "%llu %llu %s\n", (unsigned long long)cc->size,
                   (unsigned long long)cc->mtime_ns, cc->version);
    for (int i = 0; i < cc->words; i++) tn_str_appendf(text, "%s\n", cc->word[i]);
    tn_sha256_hex(text->data, text->len, cc->identity);
}

typedef struct find_args {
    tn_cc *cc;
    tn_cache *memo;
    tn_str text;
} find_args;

static tn_status find_guarded(void *argument, tn_error *err) {
    find_args *a = argument;
    TN_CHECK(find_version(a->cc, a->memo, &a->text, err));
    set_identity(a->cc, &a->text);
    return TN_OK;
}

tn_status tn_cc_find(tn_cc *cc, tn_cache *memo, tn_error *err) {
    struct stat st;
    *cc = (tn_cc){0};
    TN_CHECK(locate(cc, &st, err));
    cc->size = (uint64_t)st.st_size;
    cc->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    find_args a = {.cc = cc, .memo = memo};
    tn_str_init(&a.text);
    tn_status status = tn_guard(find_guarded, &a, err);
    tn_str_deinit(&a.text);
    return status;
}

static bool try_compile(const tn_cc *cc, const char *flags, const char *text) {
    char folder[PATH_SIZE - 64], source[PATH_SIZE], object[PATH_SIZE], output[PATH_SIZE];
    if (tn_temp_folder(folder, sizeof folder, NULL, NULL) != TN_OK) return false;
    path_in(source, folder, "probe.c");
    path_in(object, folder, "probe.o");
    path_in(output, folder, "said");
    arg_list a;
    start_args(&a, cc);
    add_kernel_flags(&a, flags);
    const char *const rest[] = {"-c", "-x", "c", source, "-o", object};
    for (size_t i = 0; i < TN_COUNT(rest); i++) add_arg(&a, rest[i]);
    tn_process p = {.argv = a.argv, .output = output, .folder = folder};
    struct stat st;
    bool ok = tn_file_write(source, text, strlen(text), false, NULL) == TN_OK &&
              tn_processes_run(&p, 1, 1, PROBE_SECONDS, NULL) == TN_OK && !p.timed_out &&
              p.exit_code <= 0 && stat(object, &st) == 0;
    tn_temp_folder_remove(folder);
    return ok;
}

bool tn_cc_accepts(const tn_cc *cc, const char *flags, const char *text, tn_cache *memo) {
    char name[80];
    tn_cache_entry entry;
    if (!flags) flags = "";
    if (memo && !memo_name(cc, "accepts", flags, text, name)) memo = NULL;
    if (memo && tn_cache_get(memo, name, &entry)) {
        bool yes = entry.size == 3;
        tn_cache_entry_close(&entry);
        return yes;
    }
    bool ok = try_compile(cc, flags, text);
    if (memo) tn_cache_put(memo, name, ok ? "yes" : "no", ok ? 3 : 2);
    return ok;
}

/* ---- building ------------------------------------------------------------------------------- */

typedef struct build {
    const tn_cc *cc;
    const tn_cc_job *job;
    char folder[PATH_SIZE - 64];
    char source[TN_CC_MAX_UNITS][PATH_SIZE], object[TN_CC_MAX_UNITS][PATH_SIZE],
        said[TN_CC_MAX_UNITS][PATH_SIZE];
    char library[PATH_SIZE];
    arg_list args[TN_CC_MAX_UNITS];
    tn_process process[TN_CC_MAX_UNITS];
    bool keep; /* the folder holds a source that failed */
} build;

static void remove_objects(build *b) {
    for (uint32_t i = 0; i < b->job->count; i++) {
        (void)unlink(b->object[i]);
        (void)unlink(b->said[i]);
    }
    (void)unlink(b->library);
}

/* What a process that failed said; `source` is kept when there is one. */
static tn_status failed(build *b, const tn_process *p, const char *source, tn_error *err) {
    char text[SAID_BYTES];
    read_said(p->output, text);
    if (source) {
        b->keep = true;
        for (uint32_t i = 0; i < b->job->count; i++)
            if (b->source[i] != source) (void)unlink(b->source[i]);
    }
    const char *kept = source ? "; the source is kept in " : "";
    const char *path = source ? source : "";
    if (p->timed_out)
        return tn_error_set(err, TN_TOOLCHAIN, "%s did not end within its time limit%s%s",
                            b->cc->word[0], kept, path);
    return tn_error_set(err, TN_TOOLCHAIN, "%s failed with status %d%s%s:\n%s", b->cc->word[0],
                        p->exit_code, kept, path, *text ? text : "(it said nothing)");
}

static bool succeeded(const tn_process *p, const char *result) {
    struct stat st;
    return !p->timed_out && p->exit_code <= 0 && stat(result, &st) == 0 && st.st_size > 0;
}

static void set_paths(build *b) {
    char name[32];
    path_in(b->library, b->folder, "kernels.so");
    for (uint32_t i = 0; i < b->job->count; i++) {
        snprintf(name, sizeof name, "kernels%u.c", i);
        path_in(b->source[i], b->folder, name);
        snprintf(name, sizeof name, "kernels%u.o", i);
        path_in(b->object[i], b->folder, name);
        snprintf(name, sizeof name, "kernels%u.txt", i);
        path_in(b->said[i], b->folder, name);
    }
}

/* One unit goes straight into the library, several are linked afterwards. */
static void prepare_unit(build *b, uint32_t i) {
    bool alone = b->job->count == 1;
    arg_list *a = &b->args[i];
    start_args(a, b->cc);
    add_kernel_flags(a, b->job->flags);
    add_arg(a, alone ? "-shared" : "-c");
    const char *const rest[] = {"-x", "c", b->source[i], "-o", alone ? b->library : b->object[i]};
    for (size_t r = 0; r < TN_COUNT(rest); r++) add_arg(a, rest[r]);
    if (alone) add_arg(a, "-lm");
    b->process[i] = (tn_process){.argv = a->argv, .output = b->said[i], .folder = b->folder};
}

static tn_status compile_units(build *b, double seconds, tn_error *err) {
    const tn_cc_job *job = b->job;
    for (uint32_t i = 0; i < job->count; i++) {
        TN_CHECK(tn_file_write(b->source[i], job->units[i].text, job->units[i].len, false, err));
        prepare_unit(b, i);
    }
    int jobs = job->jobs > 0 ? job->jobs : tn_cores();
    TN_CHECK(tn_processes_run(b->process, job->count, jobs, seconds, err));
    for (uint32_t i = 0; i < job->count; i++)
        if (!succeeded(&b->process[i], job->count == 1 ? b->library : b->object[i]))
            return failed(b, &b->process[i], b->source[i], err);
    return TN_OK;
}

static tn_status link_units(build *b, double seconds, tn_error *err) {
    arg_list a;
    start_args(&a, b->cc);
    add_words(&a, b->job->flags);
    add_arg(&a, "-shared");
    add_arg(&a, "-o");
    add_arg(&a, b->library);
    for (uint32_t i = 0; i < b->job->count; i++) add_arg(&a, b->object[i]);
    add_arg(&a, "-lm");
    tn_process p = {.argv = a.argv, .output = b->said[0], .folder = b->folder};
    TN_CHECK(tn_processes_run(&p, 1, 1, seconds, err));
    if (!succeeded(&p, b->library)) return failed(b, &p, NULL, err);
    return TN_OK;
}

static tn_status build_library(build *b, tn_error *err) {
    double seconds = b->job->seconds > 0 ? b->job->seconds : 120;
    TN_CHECK(tn_temp_folder(b->folder, sizeof b->folder, NULL, err));
    set_paths(b);
    TN_CHECK(compile_units(b, seconds, err));
    if (b->job->count > 1) TN_CHECK(link_units(b, seconds, err));
    return TN_OK;
}

static tn_status take_library(const char *path, uint8_t **bytes, size_t *size, tn_error *err) {
    tn_file_map map;
    TN_TRY(err, tn_file_map_open(&map, path, err), "while reading what the compiler wrote");
    *bytes = malloc(map.size ? map.size : 1);
    if (*bytes && map.size) memcpy(*bytes, map.data, map.size);
    *size = map.size;
    tn_file_map_close(&map);
    return *bytes ? TN_OK : tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
}

tn_status tn_cc_build(const tn_cc *cc, const tn_cc_job *job, uint8_t **bytes, size_t *size,
                      tn_error *err) {
    TN_ASSERT(job->count > 0 && job->count <= TN_CC_MAX_UNITS);
    *bytes = NULL;
    *size = 0;
    build *b = calloc(1, sizeof *b);
    if (!b) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    b->cc = cc;
    b->job = job;
    tn_status status = build_library(b, err);
    if (status == TN_OK) status = take_library(b->library, bytes, size, err);
    if (b->folder[0]) {
        remove_objects(b);
        if (!b->keep) tn_temp_folder_remove(b->folder);
    }
    free(b);
    return status;
}
