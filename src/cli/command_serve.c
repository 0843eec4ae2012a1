/* command_serve.c - `r2lm serve`: one model for many clients. */
#define _POSIX_C_SOURCE 200809L /* strnlen */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "cli/model_find.h"
#include "cli/session.h"
#include "server/server.h"

#if !defined(R2LM_HAVE_LIBEVENT)

int r2i_serve_command(r2i_program *p) {
    r2_error err;
    const r2_status status =
        r2i_fail(&err, R2_E_UNSUPPORTED, "serve: this r2lm was built without libevent or OpenSSL");
    const int code = r2i_program_fail(p, status, &err);
    r2i_program_hint(p, "      install libevent-dev and libssl-dev and build again");
    return code;
}

#else

enum { MAX_CONTEXT = 32768, MODEL_ID_BYTES = 256, KEY_LINE_BYTES = 512 };

/* ---- keys and hosts ---- */

/* A flag's or variable's own memory, which is writable and which `ps` and /proc show. */
static void wipe(const char *text) {
    memset((char *)(uintptr_t)text, 'x', strlen(text));
}

static void warn_if_readable(const r2i_program *p, const char *path) {
    struct stat file;
    if (path != NULL && stat(path, &file) == 0 && S_ISREG(file.st_mode) &&
        (file.st_mode & (S_IRGRP | S_IROTH)))
        r2i_program_note(p, "%s: other users can read these keys (chmod 600 keeps them out)", path);
}

static r2_status read_keys(r2i_gate *gate, const char *path, r2_error *err) {
    char line[KEY_LINE_BYTES];
    r2_status status = R2_OK;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return r2i_fail(err, errno == ENOENT ? R2_E_NOT_FOUND : R2_E_IO, "%.150s: %s", path,
                        strerror(errno));
    while (status == R2_OK && fgets(line, sizeof line, file) != NULL) {
        const size_t n = strcspn(line, "\r\n");
        if (n > 0 && line[0] != '#') status = r2i_gate_add_key(gate, line, n, err);
    }
    fclose(file);
    if (status == R2_OK && gate->n_keys == 0)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: expected a key per line, found none", path);
    return status;
}

static r2_status fill_gate(r2i_gate *gate, const r2i_options *o, r2_error *err) {
    gate->bind_host = o->host;
    gate->is_tls = o->tls_cert != NULL;
    for (int32_t i = 0; i < o->allowed_hosts.n; i++)
        R2I_TRY(r2i_gate_add_host(gate, o->allowed_hosts.texts[i], err));
    for (int32_t i = 0; i < o->allowed_origins.n; i++)
        R2I_TRY(r2i_gate_add_origin(gate, o->allowed_origins.texts[i], err));
    for (int32_t i = 0; i < o->api_keys.n; i++) {
        const char *key = o->api_keys.texts[i];
        R2I_TRY(r2i_gate_add_key(gate, key, strlen(key), err));
        wipe(key);
    }
    return o->api_key_file != NULL ? read_keys(gate, o->api_key_file, err) : R2_OK;
}

/* ---- serving ---- */

/* The file's name without folder and ending. */
static void name_model(const char *path, char out[MODEL_ID_BYTES]) {
    size_t n;
    const char *name = r2i_path_name(path, &n);
    if (n > 5 && memcmp(name + n - 5, ".gguf", 5) == 0) n -= 5;
    if (n >= MODEL_ID_BYTES) n = MODEL_ID_BYTES - 1;
    memcpy(out, name, n);
    out[n] = '\0';
}

static void on_log(void *user, const char *line) {
    const r2i_session *s = user;
    if (s->program->options->is_verbose) fprintf(stderr, "%s\n", line);
}

static void on_ready(void *user, const char *where) {
    const r2i_session *s = user;
    r2i_program_note(s->program, "serving %s at %s", s->path, where);
    warn_if_readable(s->program, s->program->options->api_key_file);
}

static void on_stopping(void *user, int32_t n_busy) {
    const r2i_session *s = user;
    if (n_busy > 0)
        r2i_program_note(s->program,
                         "stopping when what runs is done (requests: %d), within %d s; a second "
                         "signal stops at once",
                         n_busy, s->program->options->drain_s);
}

static r2i_reasoning_field read_reasoning_field(const char *name) {
    if (strcmp(name, "reasoning") == 0) return R2I_REASONING;
    if (strcmp(name, "both") == 0) return R2I_REASONING_BOTH;
    return strcmp(name, "none") == 0 ? R2I_REASONING_NONE : R2I_REASONING_CONTENT;
}

static r2_status serve(r2i_session *s, r2i_server_options *server, int32_t *n_signals,
                       r2_error *err) {
    const r2i_options *o = s->program->options;
    char model_id[MODEL_ID_BYTES];
    const int32_t n_model = s->info.n_context < MAX_CONTEXT ? s->info.n_context : MAX_CONTEXT;
    const r2_engine_options engine = { .n_context = o->ctx_size,
                                       .n_sequences = o->parallel,
                                       .cache_bytes = (int64_t)o->cache_mb << 20 };
    name_model(s->path, model_id);
    R2I_TRY(r2i_session_open_engine(s, &engine, err));
    server->host = o->host;
    server->port = o->port;
    server->socket_path = o->socket;
    server->cert_path = o->tls_cert;
    server->key_path = o->tls_key;
    server->model = s->model;
    server->engine = s->engine;
    server->model_id = model_id;
    server->n_parallel = o->parallel;
    server->n_queued = o->queue;
    server->n_context = o->ctx_size > 0 ? o->ctx_size : n_model;
    server->drain_ms = o->drain_s * 1000;
    server->request_ms = o->timeout_s * 1000;
    server->body_bytes = (size_t)o->body_mb << 20;
    server->reasoning_field = read_reasoning_field(o->reasoning_field);
    server->log = on_log;
    server->on_ready = on_ready;
    server->on_stopping = on_stopping;
    server->user = s;
    r2i_session_sequence_options(s, &server->defaults);
    server->seed = server->defaults.sampling.seed;
    server->has_fixed_seed = o->seed >= 0;
    return r2i_server_run(server, n_signals, err);
}

/* `serve MODEL` or `serve -m MODEL`. */
static r2_status open_model(r2i_session *s, r2i_program *p, r2_error *err) {
    const char *path = NULL, *name = p->options->model;
    const int n_names = p->arguments.has_model_flag ? 0 : 1;
    if (p->arguments.n_words > n_names)
        return r2i_fail(err, R2_E_ARGUMENT, "serve: expected one model, found \"%.60s\" too",
                        p->arguments.words[n_names]);
    if (p->arguments.n_words > 0) name = p->arguments.words[0];
    R2I_TRY(r2i_model_resolve(&path, p, name, err));
    return r2i_session_open_model(s, p, path, err);
}

static r2_status check_options(const r2i_options *o, r2_error *err) {
    if (o->tls_key != NULL && o->tls_cert == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "--tls-key: expected --tls-cert beside it");
    return r2i_crypto_is_ready() ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for OpenSSL");
}

/* Who can come near must show a key. */
static r2_status check_reach(const r2i_options *o, const r2i_gate *gate, r2_error *err) {
    if (o->socket != NULL || gate->n_keys > 0 || r2i_host_is_loopback(o->host)) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "--host %.80s: others can reach this address: expected --api-key-file or "
                    "--api-key beside it",
                    o->host);
}

int r2i_serve_command(r2i_program *p) {
    enum { SECOND_SIGNAL = 15 };
    r2i_session s = { .program = p };
    r2i_server_options server = { .port = 0 };
    r2_error err = { R2_OK, "" };
    int32_t n_signals = 0;
    r2_status status = check_options(p->options, &err);
    if (status == R2_OK) status = fill_gate(&server.gate, p->options, &err);
    if (status == R2_OK) status = check_reach(p->options, &server.gate, &err);
    if (status == R2_OK) status = open_model(&s, p, &err);
    if (status == R2_OK) status = serve(&s, &server, &n_signals, &err);
    int code = n_signals > 1 ? R2I_EXIT_SIGNAL + SECOND_SIGNAL : R2I_EXIT_OK;
    if (status != R2_OK) {
        code = r2i_program_fail(p, status, &err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    }
    r2i_session_close(&s);
    return code;
}
#endif
