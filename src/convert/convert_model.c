/* convert_model.c - r2_convert: opens the input, plans, writes. */
#define _GNU_SOURCE /* S_ISDIR, lstat */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "convert/conversion.h"
#include "files/disk_room.h"
#include "model/config_read.h"

enum { ARENA_BLOCK_BYTES = 1 << 20 };

void r2i_conversion_note(const r2i_conversion *conversion, const char *format, ...) {
    char line[256];
    va_list args;
    const r2_host *host = &conversion->options->host;
    if (host->log == NULL) return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    host->log(host->user, line);
}

static r2_status open_folder(r2i_conversion *c, r2_error *err) {
    R2I_TRY(r2i_model_folder_open(&c->folder, c->in, R2I_FOLDER_WEIGHTS, &c->arena, err));
    c->label = c->folder.label;
    return r2i_config_from_json(&c->config, c->folder.config, "config.json", &c->arena, err);
}

static r2_status open_gguf(r2i_conversion *c, r2_error *err) {
    R2I_TRY(r2i_gguf_open(&c->gguf, c->in, &c->arena, err));
    c->label = r2i_gguf_label(c->gguf);
    return r2i_config_from_gguf(&c->config, c->gguf, &c->arena, err);
}

static r2_status run(r2i_conversion *c, r2_error *err) {
    struct stat info;
    const bool to_gguf = stat(c->in, &info) == 0 && S_ISDIR(info.st_mode);
    if (!c->options->is_forced && lstat(c->out, &info) == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "%s: exists already", c->out);
    R2I_TRY(to_gguf ? open_folder(c, err) : open_gguf(c, err));
    c->has_mtp = c->config.n_mtp > 0 && !c->options->drops_mtp;
    c->block_rows = c->block_cols = 128; /* config_json.c refuses others */
    R2I_TRY(r2i_conversion_plan(c, err));
    R2I_TRY(r2i_disk_room_check(c->out, c->n_bytes_all, err));
    R2I_TRY(r2i_stream_begin(c, err));
    return to_gguf ? r2i_write_gguf(c, err) : r2i_write_folder(c, err);
}

r2_status r2_convert(const char *in, const char *out, const r2_convert_options *options,
                     r2_error *err) {
    static const r2_convert_options defaults = { 0 };
    r2i_cpu cpu;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    r2i_conversion c = { .options = options != NULL ? options : &defaults, .in = in, .out = out };
    if (c.options->type < R2_CONVERT_KEEP || c.options->type > R2_CONVERT_BF16 ||
        c.options->shard_bytes < 0 || !isfinite(c.options->adapter.scale))
        return r2i_fail(
            err, R2_E_ARGUMENT,
            "convert: unknown type, a negative shard size or a scale that is no number");
    r2i_heap_init_host(&c.heap, &c.options->host);
    r2i_arena_init(&c.arena, &c.heap, ARENA_BLOCK_BYTES, 0);
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&c.kernels, &cpu, R2I_LEVEL_AMX);
    const r2_status status = run(&c, err);
    r2i_stream_end(&c);
    r2i_gguf_close(c.gguf);
    r2i_model_folder_close(&c.folder);
    r2i_arena_destroy(&c.arena);
    if (status == R2_OK && err != NULL) *err = (r2_error){ R2_OK, "" }; /* of optional files */
    return status;
}
