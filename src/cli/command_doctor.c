/* command_doctor.c - `r2lm doctor`: is this machine ready, and what would help?  Reads only. */
#define _GNU_SOURCE /* sysconf(_SC_PHYS_PAGES) */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/failure.h"
#include "cli/model_find.h"
#include "cli/read_rate.h"

enum { LINE_BYTES = 128 };

typedef struct {
    r2i_cpu cpu;
    int32_t n_threads;
    double memory_gb, free_gb, read_gb_s;
    char huge_pages[LINE_BYTES], features[LINE_BYTES];
    const char *model; /* path of the default model, or NULL */
    size_t n_models;
} findings;

/* "always [madvise] never" -> "madvise" */
static void read_huge_pages(char *out, size_t cap) {
    char line[LINE_BYTES] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (file != NULL && fgets(line, sizeof line, file) == NULL) line[0] = '\0';
    if (file != NULL) (void)fclose(file);
    const char *open = strchr(line, '['), *close = open != NULL ? strchr(open, ']') : NULL;
    if (close == NULL)
        (void)snprintf(out, cap, "unknown");
    else
        (void)snprintf(out, cap, "%.*s", (int)(close - open - 1), open + 1);
}

static r2_status look(findings *f, r2i_program *p, r2_error *err) {
    static const struct {
        uint32_t bit;
        const char *name;
    } features[] = { { R2I_CPU_AVX_VNNI, " avx-vnni" },
                     { R2I_CPU_AVX512_BF16, " avx512-bf16" },
                     { R2I_CPU_AVX512_VBMI, " avx512-vbmi" } };
    r2i_found_models found;
    size_t n = 0;
    r2i_cpu_detect(&f->cpu);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        if ((f->cpu.features & features[i].bit) == 0) continue;
        n += (size_t)snprintf(f->features + n, sizeof f->features - n, "%s", features[i].name);
    }
    f->n_threads = p->options->threads > 0 ? p->options->threads : r2i_cpu_count();
    f->memory_gb = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE) * 1e-9;
    f->free_gb = (double)r2i_available_memory() * 1e-9;
    read_huge_pages(f->huge_pages, sizeof f->huge_pages);
    R2I_TRY(r2i_models_find(&found, p, err));
    f->n_models = found.n_models;
    if (r2i_model_resolve(&f->model, p, p->options->model, NULL) != R2_OK) f->model = NULL;
    f->read_gb_s = r2i_read_rate(f->n_threads, 0.3);
    return R2_OK;
}

static int print_findings_json(r2i_program *p, const findings *f) {
    json_t *levels = json_array();
    for (int level = R2I_LEVEL_REF; level <= (int)f->cpu.level; level++) {
        (void)json_array_append_new(levels, json_string(r2i_level_name((r2i_level)level)));
    }
    return r2i_program_print_json(
        p, json_pack("{s:s, s:s, s:o, s:s, s:i, s:f, s:f, s:s, s:f, s:i, s:s?, s:b}", "cpu",
                     f->cpu.brand, "cpu_level", r2i_level_name(f->cpu.level), "levels", levels,
                     "features", f->features + (f->features[0] == ' '), "threads", f->n_threads,
                     "memory_gb", f->memory_gb, "available_gb", f->free_gb, "huge_pages",
                     f->huge_pages, "read_gb_s", f->read_gb_s, "models", (int)f->n_models, "model",
                     f->model, "ready", f->model != NULL));
}

static void print_line(const r2i_program *p, bool is_good, const char *name, const char *text) {
    const char *bold = is_good ? "" : r2i_terminal_bold(&p->terminal),
               *plain = is_good ? "" : r2i_terminal_plain(&p->terminal);
    if (!p->terminal.is_out_tty) bold = plain = "";
    printf("%s%-4s%s %-14s %s\n", bold, is_good ? "ok" : "note", plain, name, text);
}

static void print_findings(const r2i_program *p, const findings *f) {
    char text[4 * LINE_BYTES];
    (void)snprintf(text, sizeof text, "%s; kernels %s%s%s%s", f->cpu.brand,
                   r2i_level_name(f->cpu.level), f->features[0] != '\0' ? " with" : "", f->features,
                   f->cpu.level < R2I_LEVEL_AVX2 ? ": slow, AVX2 would help" : "");
    print_line(p, f->cpu.level >= R2I_LEVEL_AVX2, "processor", text);
    (void)snprintf(text, sizeof text, "%d", f->n_threads);
    print_line(p, true, "threads", text);
    (void)snprintf(text, sizeof text, "%.1f GB, %.1f GB available", f->memory_gb, f->free_gb);
    print_line(p, f->free_gb > 1, "memory", text);
    const bool has_huge =
        strcmp(f->huge_pages, "never") != 0 && strcmp(f->huge_pages, "unknown") != 0;
    (void)snprintf(text, sizeof text, "%s%s", f->huge_pages,
                   has_huge ? "" : ": reading weights is slower than it could be");
    print_line(p, has_huge, "huge pages", text);
    (void)snprintf(text, sizeof text,
                   "%.1f GB/s: about %.0f tokens per second of a model that reads 100 MB per token",
                   f->read_gb_s, f->read_gb_s * 10);
    print_line(p, f->read_gb_s > 0, "reading", text);
    (void)snprintf(text, sizeof text, "%zu on this machine, see `r2lm list`", f->n_models);
    print_line(p, f->n_models > 0, "models", text);
    (void)snprintf(text, sizeof text, "%.400s",
                   f->model != NULL
                       ? f->model
                       : "the default is not here: `make run` in the source tree fetches it");
    print_line(p, f->model != NULL, "default model", text);
}

int r2i_doctor_command(r2i_program *p) {
    findings f = { .model = NULL };
    r2_error err = { R2_OK, "" };
    const r2_status status = look(&f, p, &err);
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    if (p->options->wants_json) return print_findings_json(p, &f);
    print_findings(p, &f);
    return R2I_EXIT_OK;
}
