#include "cli/train_export.h"

#include <stdio.h>

#include "base/failure.h"
#include "cli/model_find.h"
#include "cli/train_options.h"

enum { PATH_BYTES = 4096, FEW_TOKENS = 64 };

static r2_status save(r2_trainer *trainer, const r2_train_options *run, const char *out,
                      r2_error *err) {
    if (run->trainer.lora.rank > 0)
        return r2_trainer_save_adapter(trainer, out, run->is_forced, err);
    return r2_trainer_save(trainer, out, run->saves_f32, run->is_forced, err);
}

r2_status r2i_train_export(r2i_program *p, r2_error *err) {
    const r2i_options *o = p->options;
    const char *model;
    char checkpoints[PATH_BYTES];
    r2_trainer *trainer;
    r2_train_options run;
    if (p->arguments.n_words != 2 || o->output == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "train export: expected a run's folder and -o OUT");
    const int n =
        snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", p->arguments.words[1]);
    if (n < 0 || (size_t)n >= sizeof checkpoints)
        return r2i_fail(err, R2_E_ARGUMENT, "train export: expected a shorter path");
    R2I_TRY(r2i_model_resolve(&model, p, o->model, err));
    r2i_train_options_read(&run, o);
    run.trainer.batch_tokens = FEW_TOKENS; /* nothing is computed */
    run.trainer.document_tokens = FEW_TOKENS;
    R2I_TRY(r2_trainer_open(&trainer, model, &run.trainer, err));
    r2_status status = r2_trainer_restore(trainer, checkpoints, o->step, err);
    if (status == R2_OK) status = save(trainer, &run, o->output, err);
    r2_trainer_close(trainer);
    return status;
}
