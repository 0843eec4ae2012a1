#define _POSIX_C_SOURCE 200809L /* stat */
#include "cli/conversation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "cli/text_write.h"

enum { MAX_FILE_BYTES = 64 << 20 };

r2_status r2i_conversation_init(r2i_conversation *c, r2_error *err) {
    c->messages = json_array();
    return c->messages != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for a conversation");
}

void r2i_conversation_destroy(r2i_conversation *c) {
    json_decref(c->messages);
    c->messages = NULL;
}

size_t r2i_conversation_count(const r2i_conversation *c) {
    return json_array_size(c->messages);
}

static const char *field(const r2i_conversation *c, size_t i, const char *key) {
    return json_string_value(json_object_get(json_array_get(c->messages, i), key));
}

const char *r2i_conversation_role(const r2i_conversation *c, size_t i) {
    return field(c, i, "role");
}

const char *r2i_conversation_content(const r2i_conversation *c, size_t i) {
    return field(c, i, "content");
}

static json_t *make_message(const char *role, const char *text, size_t n_bytes) {
    json_t *content = memchr(text, '\0', n_bytes) == NULL ? json_stringn(text, n_bytes) : NULL;
    return content != NULL ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
}

r2_status r2i_conversation_add(r2i_conversation *c, const char *role, const char *text,
                               size_t n_bytes, r2_error *err) {
    json_t *message = make_message(role, text, n_bytes);
    if (message == NULL) return r2i_fail(err, R2_E_FORMAT, "message: expected UTF-8 text");
    return json_array_append_new(c->messages, message) == 0
               ? R2_OK
               : r2i_fail(err, R2_E_NOMEM, "no memory for a message");
}

void r2i_conversation_cut(r2i_conversation *c, size_t n_messages) {
    while (json_array_size(c->messages) > n_messages)
        (void)json_array_remove(c->messages, json_array_size(c->messages) - 1);
}

static bool has_system(const r2i_conversation *c) {
    const char *role = r2i_conversation_role(c, 0);
    return role != NULL && strcmp(role, "system") == 0;
}

r2_status r2i_conversation_set_system(r2i_conversation *c, const char *text, r2_error *err) {
    json_t *message = NULL;
    if (text != NULL && text[0] != '\0') {
        message = make_message("system", text, strlen(text));
        if (message == NULL)
            return r2i_fail(err, R2_E_FORMAT, "system message: expected UTF-8 text");
    }
    if (has_system(c)) (void)json_array_remove(c->messages, 0);
    if (message != NULL) (void)json_array_insert_new(c->messages, 0, message);
    return R2_OK;
}

void r2i_conversation_clear(r2i_conversation *c) {
    r2i_conversation_cut(c, has_system(c) ? 1 : 0);
}

/* ---- files ---- */

r2_status r2i_conversation_save(const r2i_conversation *c, const char *path, r2_error *err) {
    json_t *root = json_pack("{s:s, s:i, s:O}", "format", "r2lm conversation", "version", 1,
                             "messages", c->messages);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory to write the conversation");
    const r2_status status = r2i_text_write(path, text, strlen(text), 0600, err);
    free(text); /* jansson's own */
    return status;
}

static r2_status check_messages(const json_t *messages, const char *path, r2_error *err) {
    if (!json_is_array(messages))
        return r2i_fail(err, R2_E_FORMAT, "%.150s: expected an array of messages", path);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (!json_is_string(json_object_get(message, "content"))) {
            return r2i_fail(err, R2_E_FORMAT, "%.150s: message %zu: content: expected a text", path,
                            i);
        }
        if (role == NULL || (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 &&
                             strcmp(role, "assistant") != 0)) {
            return r2i_fail(err, R2_E_FORMAT,
                            "%.150s: message %zu: role: expected system, user or assistant", path,
                            i);
        }
    }
    return R2_OK;
}

r2_status r2i_conversation_load(r2i_conversation *c, const char *path, r2_error *err) {
    struct stat info;
    json_error_t where;
    if (stat(path, &info) != 0) {
        return r2i_fail(err, errno == ENOENT ? R2_E_NOT_FOUND : R2_E_IO, "%.150s: %s", path,
                        strerror(errno));
    }
    if (!S_ISREG(info.st_mode) || info.st_size > MAX_FILE_BYTES) {
        return r2i_fail(err, R2_E_FORMAT, "%.150s: expected a file of at most %d bytes", path,
                        MAX_FILE_BYTES);
    }
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return r2i_fail(err, R2_E_FORMAT, "%.120s: line %d: %.80s", path, where.line, where.text);
    json_t *messages = json_is_array(root) ? root : json_object_get(root, "messages");
    const r2_status status = check_messages(messages, path, err);
    if (status == R2_OK) {
        json_decref(c->messages);
        c->messages = json_incref(messages);
    }
    json_decref(root);
    return status;
}
