#include "train/runs/run_output.h"

#include <stdio.h>

#include "base/failure.h"
#include "files/atomic_folder.h"
#include "files/disk_room.h"
#include "model/model.h"
#include "train/runs/trainer_model.h"

enum { PATH_BYTES = 4200 };

static bool may_replace(const r2_train_options *o) {
    return o->is_forced || o->is_resuming;
}

static r2_status check_folder(const r2_train_options *o, const char *mark, r2i_heap *heap,
                              r2_error *err) {
    r2i_atomic_folder *folder = NULL;
    R2I_TRY(r2i_atomic_folder_begin(&folder, o->out, may_replace(o), mark, heap, err));
    r2i_atomic_folder_abandon(folder);
    return R2_OK;
}

/* Of each number that is trained, at the end of the run.  Adapters are written in two forms, in F32. */
static int64_t number_bytes(const r2_train_options *o) {
    return o->trainer.lora.rank > 0 ? 8 : o->saves_f32 ? 4 : 2;
}

r2_status r2i_run_output_check(const r2_train_options *o, r2_trainer *trainer, r2_error *err) {
    r2_model *model = r2i_trainer_model(trainer);
    if (o->out == NULL || r2_ranks_index(o->trainer.ranks) > 0) return R2_OK;
    r2_trainer_info about;
    r2_trainer_get_info(trainer, &about);
    R2I_TRY(r2i_disk_room_check(o->out, about.n_parameters * number_bytes(o), err));
    if (o->trainer.lora.rank > 0) return check_folder(o, "adapter_config.json", &model->heap, err);
    return check_folder(o, "config.json", &model->heap, err);
}

static r2_status write_output(const r2_train_options *o, r2_trainer *trainer, r2_error *err) {
    char path[PATH_BYTES];
    if (o->out == NULL) return R2_OK;
    if (o->trainer.lora.rank == 0)
        return r2_trainer_save(trainer, o->out, o->saves_f32, may_replace(o), err);
    const int n = snprintf(path, sizeof path, "%s.gguf", o->out);
    if (n < 0 || (size_t)n >= sizeof path)
        return r2i_fail(err, R2_E_ARGUMENT, "%.100s: the adapter's path is too long", o->out);
    R2I_TRY(r2_trainer_save_adapter(trainer, o->out, may_replace(o), err));
    return r2_trainer_save_adapter(trainer, path, may_replace(o), err);
}

r2_status r2i_run_output_write(const r2_train_options *o, r2_trainer *trainer, r2_error *err) {
    r2_ranks *ranks = o->trainer.ranks;
    r2_status status = R2_OK;
    if (r2_ranks_index(ranks) == 0 || r2i_trainer_divides_experts(trainer))
        status = write_output(o, trainer, err);
    return r2_ranks_agree(ranks, status, err);
}
