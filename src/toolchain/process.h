/* Child processes without a shell: started in parallel, waited for with a time limit. */
#ifndef TENON_TOOLCHAIN_PROCESS_H
#define TENON_TOOLCHAIN_PROCESS_H

#include <sys/types.h>

#include "base/base.h"
#include "base/str.h"

typedef struct tn_process {
    const char *const *argv; /* NULL-terminated; argv[0] is the path of the program */
    const char *output;      /* file that receives standard output and error */
    const char *input;       /* file for standard input; NULL: empty */
    const char *folder;      /* TMPDIR of the child; NULL: as it is */
    /* results */
    pid_t pid;
    bool running, timed_out;
    int exit_code; /* of the program; 128 + N when signal N ended it, -1 when unknown */
} tn_process;

/* Runs all, at most `jobs` at once, each for at most `seconds`. Fails only where a process cannot
 * be started; what the others did is in their results. */
tn_status tn_processes_run(tn_process *p, uint32_t count, int jobs, double seconds, tn_error *err);

/* A new private folder under TMPDIR, /tmp, /dev/shm or `last` (may be NULL), the first that has
 * room. */
tn_status tn_temp_folder(char *out, size_t size, const char *last, tn_error *err);
/* Removes the folder and the files in it. */
void tn_temp_folder_remove(const char *folder);

#endif
