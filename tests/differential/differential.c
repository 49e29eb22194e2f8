/* Differential testing: random graphs give the same numbers by the reference, interpreted and compiled.
 *
 *   differential [smooth|wild] [FIRST] [COUNT] [none|quick|users|mixed|all] [BATCH]
 *
 * checks the graphs of COUNT numbers from FIRST on (tests/unit/plan/random_check.h), BATCH of them in one
 * compile: none; for this machine with few of the compiler's passes; as users have them; every fourth
 * batch as users have them; for every target that this machine runs. A failure is told with its number and
 * the smallest graph that fails, as text; exit 1 then. With - for FIRST the graph is read as text from stdin. */
#include "unit/plan/random_check.h"

enum { BATCH = 50, SECONDS = 900, MOST_FAILURES = 25, REPORT = 1000, USERS_SHARE = 4 };

typedef struct options {
    random_check check;
    bool mixed;
    uint64_t first, count;
    uint32_t batch;
} options;

/* Counters that child processes share. */
static random_counts *shared_counts(void) {
    void *memory = mmap(NULL, sizeof(random_counts), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* In a child, as it may crash; its messages are told again by those that look for the seed. */
static bool passes(const options *o, uint64_t first, uint32_t count) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        tn_arena arena;
        const char *why = NULL;
        shrink_limit_time(SECONDS);
        tn_arena_init(&arena, tn_allocator_system());
        bool ok = random_check_batch(&o->check, first, count, true, &arena, &why);
        if (!ok && why) fprintf(stderr, "%s\n", why);
        _exit(ok ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    return status == 0;
}

/* The number of graphs that fail. */
static int check_batch(const options *o, uint64_t first, uint32_t count) {
    int failed = 0;
    if (passes(o, first, count)) return 0;
    random_check k = o->check;
    k.counts = NULL;
    k.compile = false;
    for (uint32_t i = 0; i < count; i++) failed += !random_check_seed(&k, first + i);
    k.compile = o->check.compile;
    for (uint32_t i = 0; !failed && k.compile && i < count; i++)
        failed += !random_check_seed(&k, first + i);
    if (!failed) fprintf(stderr, "seeds from %llu fail together only\n", (unsigned long long)first);
    return failed + !failed;
}

/* What kernels are compiled with. */
static void tell_compiler(const options *o) {
    tn_cc cc;
    if (!o->check.compile || tn_cc_find(&cc, NULL, NULL) != TN_OK) return;
    const char *quick = o->check.quick ? " -Og" : "", *share = "";
    if (o->mixed) share = "; three of four batches with -Og behind these";
    fprintf(stderr, "%s: %s %s%s%s\n", cc.version, tn_cc_flags(), tn_target_native()->flags, quick,
            share);
}

static void report(const options *o, uint64_t done, int failed) {
    const random_counts *c = o->check.counts;
    typedef unsigned long long ull;
    fprintf(stderr,
            "%s: seeds from %llu: %llu graphs: %llu refused, %llu interpreted, %llu of these also "
            "compiled (%llu as users have them, %llu with few passes; %llu kernels), %llu without "
            "kernels; %d failed; of %llu elements %.1f %% are undefined\n",
            o->check.wild ? "wild" : "smooth", (ull)o->first, (ull)done, (ull)c->refused,
            (ull)c->interpreted, (ull)(c->users + c->quick), (ull)c->users, (ull)c->quick,
            (ull)c->kernels, (ull)c->empty, failed, (ull)c->elements,
            c->elements ? 100.0 * (double)c->undefined / (double)c->elements : 0.0);
}

static int check_text(options *o) {
    static char text[1 << 20];
    size_t size = fread(text, 1, sizeof text, stdin);
    tn_arena arena;
    tn_graph *g;
    tn_error err = TN_ERROR_INIT;
    const char *why = NULL;
    tn_arena_init(&arena, tn_allocator_system());
    o->check.one = false;
    bool ok = tn_graph_parse(&arena, text, size, &g, &err) == TN_OK;
    if (!ok) why = err.message;
    ok = ok && random_check_graph(&o->check, g, NULL, "graph", &why);
    printf("%s\n", ok ? "equal" : why);
    tn_arena_deinit(&arena);
    return !ok;
}

static bool read_options(int argc, char **argv, options *o) {
    *o = (options){.first = 1, .count = 1000, .batch = BATCH};
    const char *how = argc > 4 ? argv[4] : "quick";
    o->check.wild = argc > 1 && !strcmp(argv[1], "wild");
    if (argc > 2) o->first = strtoull(argv[2], NULL, 10);
    if (argc > 3) o->count = strtoull(argv[3], NULL, 10);
    if (argc > 5) o->batch = (uint32_t)TN_MAX(1, atoi(argv[5]));
    o->check.compile = strcmp(how, "none") != 0;
    o->check.best = strcmp(how, "all") != 0;
    o->mixed = !strcmp(how, "mixed");
    o->check.quick = !strcmp(how, "quick");
    o->check.one = true;
    o->check.counts = shared_counts();
    return o->check.counts && (argc < 2 || o->check.wild || !strcmp(argv[1], "smooth")) &&
           (!o->check.compile || !o->check.best || o->mixed || o->check.quick ||
            !strcmp(how, "users"));
}

int main(int argc, char **argv) {
    options o;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr,
                "usage: differential [smooth|wild] [FIRST] [COUNT] [none|quick|users|mixed|all] "
                "[BATCH]\n");
        return 2;
    }
    if (argc > 2 && !strcmp(argv[2], "-")) return check_text(&o);
    int failed = 0;
    uint64_t done = 0;
    tell_compiler(&o);
    while (done < o.count && failed < MOST_FAILURES) {
        uint32_t n = (uint32_t)TN_MIN((uint64_t)o.batch, o.count - done);
        if (o.mixed) o.check.quick = done / o.batch % USERS_SHARE != 0;
        failed += check_batch(&o, o.first + done, n);
        done += n;
        if (done / REPORT != (done - n) / REPORT || done == o.count) report(&o, done, failed);
    }
    return failed != 0;
}
