/* For LD_PRELOAD: allocation number TENON_FAIL_AT of the process fails. TENON_COUNT_TO names a file that
 * receives how many there were. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

static atomic_long count;
static long fail_at = -1;

static int fails(void) {
    if (atomic_fetch_add(&count, 1) != fail_at) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    return size && fails() ? NULL : __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size) {
    return fails() ? NULL : __libc_memalign(align, size);
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("TENON_FAIL_AT");
    atomic_store(&count, 0);
    if (at) fail_at = atol(at);
    unsetenv("LD_PRELOAD"); /* compilers have their memory */
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("TENON_COUNT_TO");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", atomic_load(&count));
    fclose(file);
}
