#define _POSIX_C_SOURCE 200809L /* opendir, stat */
#include "cli/model_find.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/failure.h"

enum { MAX_MODELS = 4096, MAX_DEPTH = 6, MAX_MANIFEST_BYTES = 1 << 20 };

const char r2i_default_model[] = "smollm2-135m-instruct-q4_1";

/* Text in the program's arena; NULL when there is no memory. */
__attribute__((format(printf, 2, 3))) static char *keep(r2i_program *p, const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return n < 0 || (size_t)n >= sizeof text ? NULL
                                             : r2i_arena_copy_text(&p->arena, text, (size_t)n);
}

static void add(r2i_found_models *f, const char *name, const char *path, const char *source,
                int64_t n_bytes) {
    if (name == NULL || path == NULL || f->n_models == f->cap_models) return;
    for (size_t i = 0; i < f->n_models; i++) {
        if (strcmp(f->models[i].path, path) == 0) return;
    }
    f->models[f->n_models++] = (r2i_found_model){ name, path, source, n_bytes };
}

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), n_end = strlen(end);
    return n > n_end && strcasecmp(text + n - n_end, end) == 0;
}

/* Second and later shards are opened through the first. */
static bool is_later_shard(const char *name) {
    const char *of = strstr(name, "-of-");
    return of != NULL && of - name >= 6 && strncmp(of - 6, "-00001", 6) != 0 && of[-6] == '-';
}

static int64_t file_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Bytes of all safetensors files in a folder that has a config.json; -1: not a model folder. */
static int64_t model_folder_bytes(r2i_program *p, const char *folder) {
    const char *config = keep(p, "%s/config.json", folder);
    DIR *dir = config != NULL && file_bytes(config) >= 0 ? opendir(folder) : NULL;
    int64_t n_bytes = -1;
    if (dir == NULL) return -1;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (!ends_with(entry->d_name, ".safetensors")) continue;
        const char *path = keep(p, "%s/%s", folder, entry->d_name);
        const int64_t n = path != NULL ? file_bytes(path) : -1;
        if (n >= 0) n_bytes = (n_bytes < 0 ? 0 : n_bytes) + n;
    }
    (void)closedir(dir);
    return n_bytes;
}

/* Every .gguf file and model folder below `folder`.  `prefix`: what stands before a file's name. */
static void scan(r2i_found_models *f, const char *folder, const char *source, const char *prefix,
                 int depth) {
    r2i_program *p = f->program;
    DIR *dir = folder != NULL && depth < MAX_DEPTH ? opendir(folder) : NULL;
    if (dir == NULL) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name, *path = keep(p, "%s/%s", folder, name);
        if (name[0] == '.' || path == NULL) continue;
        if (is_folder(path)) {
            const int64_t n_bytes = model_folder_bytes(p, path);
            if (n_bytes >= 0)
                add(f, prefix[0] != '\0' ? prefix : keep(p, "%s", name), path, source, n_bytes);
            else
                scan(f, path, source, prefix, depth + 1);
            continue;
        }
        const int64_t n_bytes = file_bytes(path);
        if (n_bytes < 0 || !ends_with(name, ".gguf") || is_later_shard(name) ||
            strncmp(name, "mmproj", 6) == 0)
            continue;
        const int n_stem = (int)strlen(name) - 5;
        const char *shown = prefix[0] != '\0' ? keep(p, "%s:%.*s", prefix, n_stem, name)
                                              : keep(p, "%.*s", n_stem, name);
        add(f, shown, path, source, n_bytes);
    }
    (void)closedir(dir);
}

static int by_name(const void *a, const void *b) {
    const r2i_found_model *x = a, *y = b;
    return strcasecmp(x->name, y->name);
}

static void sort_from(r2i_found_models *f, size_t first) {
    if (f->n_models > first)
        qsort(f->models + first, f->n_models - first, sizeof *f->models, by_name);
}

static const char *home_path(r2i_program *p, const char *rest) {
    const char *home = getenv("HOME");
    return home != NULL && home[0] != '\0' ? keep(p, "%s/%s", home, rest) : NULL;
}

static const char *cache_path(r2i_program *p, const char *rest) {
    const char *cache = getenv("XDG_CACHE_HOME");
    if (cache != NULL && cache[0] != '\0') return keep(p, "%s/%s", cache, rest);
    const char *below = keep(p, ".cache/%s", rest);
    return below != NULL ? home_path(p, below) : NULL;
}

/* hub/models--ORG--NAME/snapshots/REVISION/files */
static void scan_hugging_face(r2i_found_models *f) {
    r2i_program *p = f->program;
    const char *hub = getenv("HF_HUB_CACHE"), *hf_home = getenv("HF_HOME");
    if (hub == NULL && hf_home != NULL) hub = keep(p, "%s/hub", hf_home);
    if (hub == NULL) hub = cache_path(p, "huggingface/hub");
    DIR *dir = hub != NULL ? opendir(hub) : NULL;
    if (dir == NULL) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, "models--", 8) != 0) continue;
        char *name = keep(p, "%s", entry->d_name + 8);
        char *dashes = name != NULL ? strstr(name, "--") : NULL;
        if (dashes != NULL) {
            *dashes = '/';
            memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
        }
        if (name != NULL)
            scan(f, keep(p, "%s/%s/snapshots", hub, entry->d_name), "hugging face", name, 0);
    }
    (void)closedir(dir);
}

/* The blob that a manifest's model layer names; digests are checked, for they become paths. */
static const char *blob_of(r2i_program *p, const char *models, const char *manifest) {
    const int64_t n_bytes = file_bytes(manifest);
    json_t *root = n_bytes > 0 && n_bytes < MAX_MANIFEST_BYTES
                       ? json_load_file(manifest, JSON_REJECT_DUPLICATES, NULL)
                       : NULL;
    const json_t *layers = json_object_get(root, "layers");
    const char *path = NULL;
    for (size_t i = 0; i < json_array_size(layers) && path == NULL; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        const char *digest = json_string_value(json_object_get(layer, "digest"));
        if (type == NULL || digest == NULL ||
            strcmp(type, "application/vnd.ollama.image.model") != 0)
            continue;
        if (strncmp(digest, "sha256:", 7) != 0 || strspn(digest + 7, "0123456789abcdef") != 64 ||
            strlen(digest) != 71)
            continue;
        path = keep(p, "%s/blobs/sha256-%s", models, digest + 7);
    }
    json_decref(root);
    return path;
}

/* manifests/HOST/OWNER/NAME/TAG; the owner "library" is left out of the name. */
static void scan_manifests(r2i_found_models *f, const char *models, const char *folder,
                           const char *name, int depth) {
    r2i_program *p = f->program;
    DIR *dir = folder != NULL && depth < MAX_DEPTH ? opendir(folder) : NULL;
    if (dir == NULL) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *path = keep(p, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || path == NULL) continue;
        if (is_folder(path)) {
            const bool is_hidden =
                depth == 0 || (depth == 1 && strcmp(entry->d_name, "library") == 0);
            const char *longer = is_hidden         ? ""
                                 : name[0] == '\0' ? keep(p, "%s", entry->d_name)
                                                   : keep(p, "%s/%s", name, entry->d_name);
            if (longer != NULL) scan_manifests(f, models, path, longer, depth + 1);
            continue;
        }
        const char *blob = blob_of(p, models, path);
        const int64_t n_bytes = blob != NULL ? file_bytes(blob) : -1;
        if (n_bytes >= 0) add(f, keep(p, "%s:%s", name, entry->d_name), blob, "ollama", n_bytes);
    }
    (void)closedir(dir);
}

static void scan_ollama(r2i_found_models *f) {
    r2i_program *p = f->program;
    const char *models = getenv("OLLAMA_MODELS");
    if (models == NULL) models = home_path(p, ".ollama/models");
    if (models != NULL) scan_manifests(f, models, keep(p, "%s/manifests", models), "", 0);
}

/* Where tools/fetch_models.sh puts models. */
static const char *own_folder(r2i_program *p) {
    const char *folder = getenv("R2LM_MODEL_CACHE");
    return folder != NULL && folder[0] != '\0' ? folder : cache_path(p, "r2lm/models");
}

r2_status r2i_models_find(r2i_found_models *out, r2i_program *p, r2_error *err) {
    const char *llama_cache = getenv("LLAMA_CACHE");
    *out = (r2i_found_models){ .program = p, .cap_models = MAX_MODELS };
    out->models = R2I_ARENA_ARRAY(&p->arena, r2i_found_model, MAX_MODELS);
    if (out->models == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a list of models");
    for (int place = 0; place < 5; place++) {
        const size_t first = out->n_models;
        if (place == 0 && p->options->models != NULL)
            scan(out, p->options->models, "folder", "", 0);
        if (place == 1) scan(out, own_folder(p), "r2lm", "", 0);
        if (place == 2) scan_hugging_face(out);
        if (place == 3) scan_ollama(out);
        if (place == 4)
            scan(out, llama_cache != NULL ? llama_cache : cache_path(p, "llama.cpp"), "llama.cpp",
                 "", 0);
        sort_from(out, first);
    }
    return R2_OK;
}

/* How well a model's name fits: 3 the name, 2 in other letters, 1 its beginning, 0 not. */
static int fit(const r2i_found_model *model, const char *text) {
    const char *slash = strrchr(model->name, '/'), *name = slash != NULL ? slash + 1 : model->name;
    if (strcmp(model->name, text) == 0) return 3;
    if (strcasecmp(model->name, text) == 0 || strcasecmp(name, text) == 0) return 2;
    const size_t n = strlen(text);
    return strncasecmp(model->name, text, n) == 0 || strncasecmp(name, text, n) == 0 ? 1 : 0;
}

static r2_status pick(const char **path, const r2i_found_models *f, const char *text,
                      r2_error *err) {
    int best = 0;
    size_t n_best = 0;
    const r2i_found_model *found[2] = { NULL, NULL };
    for (size_t i = 0; i < f->n_models; i++) {
        const int how = fit(&f->models[i], text);
        if (how == 0 || how < best) continue;
        if (how > best) n_best = 0;
        best = how;
        if (n_best < 2) found[n_best] = &f->models[i];
        n_best++;
    }
    if (n_best == 0)
        return r2i_fail(err, R2_E_NOT_FOUND, "%.100s: no such file, and no model of this name here",
                        text);
    if (n_best > 1 && best == 1) {
        return r2i_fail(err, R2_E_NOT_FOUND,
                        "%.60s: %zu models begin so, %.60s and %.60s among them", text, n_best,
                        found[0]->name, found[1]->name);
    }
    *path = found[0]->path;
    return R2_OK;
}

/* A training run is no model, but has one. */
static r2_status check_no_run(r2i_program *p, const char *path, r2_error *err) {
    const char *own = keep(p, "%s/config.json", path), *made = keep(p, "%s/model/config.json", path);
    const bool is_run =
        own != NULL && made != NULL && file_bytes(own) < 0 && file_bytes(made) >= 0;
    if (!is_run) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH,
                    "%.100s: expected a model, found a training run; its model is %.100s/model", path,
                    path);
}

r2_status r2i_model_resolve(const char **path, r2i_program *p, const char *text, r2_error *err) {
    const bool is_default = text == NULL || text[0] == '\0';
    struct stat info;
    r2i_found_models found;
    *path = NULL;
    if (!is_default &&
        (strchr(text, '/') != NULL || ends_with(text, ".gguf") || stat(text, &info) == 0)) {
        *path = text; /* a path, or an "org/name" of the Hugging Face cache */
        if (stat(text, &info) == 0) return check_no_run(p, text, err);
    }
    R2I_TRY(r2i_models_find(&found, p, err));
    if (pick(path, &found, is_default ? r2i_default_model : text, err) == R2_OK) return R2_OK;
    p->is_model_missing = true;
    if (is_default)
        return r2i_fail(err, R2_E_NOT_FOUND, "no model given, and the default model is not here");
    return R2_E_NOT_FOUND;
}

void r2i_models_hint(const r2i_program *program) {
    if (!program->is_model_missing) return;
    r2i_program_hint(program,
                     "      `r2lm list` shows the models of this machine; `make run` in the source "
                     "tree fetches %s",
                     r2i_default_model);
}
