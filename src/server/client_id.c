#include "server/client_id.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"

enum { USER_BITS = 48 };

static const uint64_t user_mask = ((uint64_t)1 << USER_BITS) - 1;

void r2i_client_salt_make(r2i_client_salt *out) {
    const int64_t now = r2i_clock_ns();
    memset(out, 0, sizeof *out);
    if (RAND_bytes(out->bytes, sizeof out->bytes) != 1) memcpy(out->bytes, &now, sizeof now);
}

/* 0: none.  Without memory for a digest the user is nobody else's, and not known again. */
static uint64_t hash_user(const r2i_client_salt *salt, const char *user) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    uint64_t hash;
    if (user == NULL || user[0] == '\0') return 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool is_made = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                         EVP_DigestUpdate(context, salt->bytes, sizeof salt->bytes) == 1 &&
                         EVP_DigestUpdate(context, user, strlen(user)) == 1 &&
                         EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!is_made) return (r2i_hash_mix((uint64_t)r2i_clock_ns()) & user_mask) | 1;
    memcpy(&hash, digest, sizeof hash);
    return (hash & user_mask) | 1;
}

/* The key has bits of its own: no name of a user leads to another key's pages. */
uint64_t r2i_client_domain(const r2i_client_salt *salt, uint64_t key, const char *user) {
    return key << USER_BITS | hash_user(salt, user);
}

uint64_t r2i_client_line(const r2i_client_salt *salt, uint64_t key, const char *user,
                         uint64_t connection) {
    if (key > 0) return key << USER_BITS;
    const uint64_t named = hash_user(salt, user);
    return named != 0 ? named : connection << 1;
}
