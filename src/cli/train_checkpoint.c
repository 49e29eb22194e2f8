/* Going on from a checkpoint. See train_checkpoint.h. */
#include "cli/train_checkpoint.h"

#include "base/io.h"

tn_status cli_train_resume(cli *c, const train_settings *s, cli_train_load *load, void *trainer,
                           tn_error *err) {
    const char *folder = s->checkpoint_folder;
    tn_checkpoint *k;
    if (!folder && s->checkpoint_resume)
        return cli_usage(c, err, "--resume needs --checkpoint.folder DIR");
    if (!folder) return TN_OK;
    tn_status status = tn_checkpoint_open(folder, TN_CHECKPOINT_NEWEST, &k, err);
    if (status == TN_NOT_FOUND) return TN_OK;
    TN_CHECK(status);
    long long step = (long long)tn_checkpoint_step(k);
    if (s->checkpoint_resume)
        status = load(trainer, k, err);
    else
        status = tn_error_set(err, TN_INVALID,
                              "%s holds a run's checkpoint of step %lld; --resume goes on from it, "
                              "another checkpoint.folder begins a new run",
                              folder, step);
    tn_checkpoint_release(k);
    TN_TRY(err, status, "checkpoint.folder");
    if (step) tn_log_write(TN_LOG_INFO, "goes on from step %lld", step);
    return TN_OK;
}
