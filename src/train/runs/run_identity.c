#include "train/runs/run_identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "files/json_read.h"
#include "train/lora/lora_parameters.h"

static const char adapter_key[] = "adapter's base and scale";

uint64_t r2i_run_identity_hash_adapter(const r2i_parameters *p) {
    if (p->lora == NULL) return 0;
    const uint64_t base = p->lora->fingerprint;
    const uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, &base, sizeof base);
    return r2i_hash_bytes(hash, &p->lora->scale, sizeof p->lora->scale);
}

uint64_t r2i_run_identity_hash_more(const r2i_run_identity *id) {
    uint64_t hash = id->more != NULL ? R2I_HASH_SEED : 0;
    for (void *at = json_object_iter(id->more); at != NULL;
         at = json_object_iter_next(id->more, at)) {
        const json_t *value = json_object_iter_value(at);
        const json_int_t number = json_integer_value(value);
        const char *text = json_string_value(value);
        hash = r2i_hash_bytes(hash, &number, sizeof number);
        if (text != NULL) hash = r2i_hash_bytes(hash, text, strlen(text));
    }
    return hash;
}

static uint64_t hash_set(const r2i_data_set *set) {
    uint64_t hash = R2I_HASH_SEED;
    for (int32_t i = 0; i < set->manifest.n_shards; i++) {
        const r2i_shard_entry *s = &set->manifest.shards[i];
        const uint64_t about[] = { s->split, s->n_documents, s->checksum };
        hash = r2i_hash_bytes(hash, about, sizeof about);
    }
    return hash;
}

static const char *optimizer_name(bool is_muon) {
    return is_muon ? "muon" : "adamw";
}

static json_t *hex_of(uint64_t hash) {
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, hash);
    return json_string(text);
}

static json_t *source_of(const r2i_run_identity *id, int32_t i) {
    char text[64];
    const double *shares = id->options->shares;
    (void)snprintf(text, sizeof text, "%016" PRIx64 " x %.17g", hash_set(&id->sets[i]),
                   shares != NULL ? shares[i] : 1);
    return json_string(text);
}

json_t *r2i_run_identity_make(const r2i_run_identity *id) {
    const r2_train_options *o = id->options;
    const r2i_parameters *p = r2i_trainer_adamw(id->trainer)->parameters;
    const r2i_trainer_limits limits = r2i_trainer_get_limits(id->trainer);
    const r2i_config *c = p->config;
    char key[32];
    json_t *out = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:o}",
        "architecture", c->architecture, "layers", c->n_layers, "width", c->d_model, "vocabulary",
        c->n_vocab, "tensors", p->n, "names and sizes of tensors", hex_of(r2i_parameters_hash_layout(p)),
        adapter_key, hex_of(r2i_run_identity_hash_adapter(p)), "optimizer",
        optimizer_name(o->trainer.optimizer == R2_OPTIMIZER_MUON), "arithmetic",
        o->trainer.arithmetic == R2_ARITHMETIC_F32 ? "f32" : "fast", "seed", (json_int_t)o->seed,
        "tokens of a batch", limits.batch_tokens, "tokens of a document's part",
        limits.document_tokens, "batches of a step", o->step_batches > 0 ? o->step_batches : 1,
        "folders of data", o->n_data, "teacher and how it teaches", hex_of(id->teacher));
    for (int32_t i = 0; out != NULL && i < o->n_data; i++) {
        (void)snprintf(key, sizeof key, "data %" PRId32, i + 1);
        if (json_object_set_new(out, key, source_of(id, i)) == 0) continue;
        json_decref(out);
        out = NULL;
    }
    if (out == NULL || id->more == NULL || json_object_update(out, id->more) == 0) return out;
    json_decref(out);
    return NULL;
}

/* Texts that begin with two hashes, which say nothing to a person. */
static bool begin_otherwise(const json_t *a, const json_t *b) {
    enum { HASH_DIGITS = 16 };
    static const char digits[] = "0123456789abcdef";
    const char *x = json_string_value(a), *y = json_string_value(b);
    return x != NULL && y != NULL && strspn(x, digits) == HASH_DIGITS &&
           strspn(y, digits) == HASH_DIGITS && strncmp(x, y, HASH_DIGITS) != 0;
}

static r2_status check(const json_t *of_checkpoint, const char *key, const json_t *value,
                       r2_error *err) {
    char wanted[64], found[64];
    const json_t *other = json_object_get(of_checkpoint, key);
    if (other != NULL && json_equal(other, value)) return R2_OK;
    if (begin_otherwise(value, other))
        return r2i_fail(err, R2_E_MISMATCH,
                        "checkpoint: %s: expected the same as in this run, found others", key);
    return r2i_fail(err, R2_E_MISMATCH, "checkpoint: %s: expected %s as in this run, found %s", key,
                    r2i_json_describe(value, wanted), r2i_json_describe(other, found));
}

r2_status r2i_run_identity_check_trainer(const json_t *of_checkpoint, const r2i_adamw *adamw,
                                         r2_error *err) {
    json_t *adapter = hex_of(r2i_run_identity_hash_adapter(adamw->parameters)),
           *optimizer = json_string(optimizer_name(adamw->leaves_hidden));
    r2_status status = adapter != NULL && optimizer != NULL
                           ? check(of_checkpoint, adapter_key, adapter, err)
                           : r2i_fail(err, R2_E_NOMEM, "no memory to compare runs");
    if (status == R2_OK) status = check(of_checkpoint, "optimizer", optimizer, err);
    json_decref(adapter);
    json_decref(optimizer);
    return status;
}

r2_status r2i_run_identity_compare(const json_t *of_checkpoint, const json_t *of_run,
                                   r2_error *err) {
    json_t *run = json_deep_copy(of_run); /* jansson's loop wants it writable */
    r2_status status = run != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory to compare runs");
    for (void *at = json_object_iter(run); at != NULL && status == R2_OK;
         at = json_object_iter_next(run, at))
        status = check(of_checkpoint, json_object_iter_key(at), json_object_iter_value(at), err);
    json_decref(run);
    return status;
}
