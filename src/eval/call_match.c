#include "eval/call_match.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static const char *skip_marks(const char *text) {
    while (*text != '\0' && strchr(" ,./-_*^", *text) != NULL)
        text++;
    return text;
}

static int letter(char c) {
    return c == '\'' ? '"' : tolower((unsigned char)c);
}

static bool is_same_text(const char *a, const char *b) {
    for (;; a++, b++) {
        a = skip_marks(a);
        b = skip_marks(b);
        if (letter(*a) != letter(*b)) return false;
        if (*a == '\0') return true;
    }
}

static bool is_same_value(const json_t *value, const json_t *wanted);

static bool is_same_array(const json_t *value, const json_t *wanted) {
    if (json_array_size(value) != json_array_size(wanted)) return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!is_same_value(json_array_get(value, i), json_array_get(wanted, i))) return false;
    }
    return true;
}

static bool is_same_value(const json_t *value, const json_t *wanted) {
    if (json_is_string(value) && json_is_string(wanted))
        return is_same_text(json_string_value(value), json_string_value(wanted));
    if (json_is_number(value) && json_is_number(wanted))
        return json_number_value(value) == json_number_value(wanted);
    if (json_is_array(value) && json_is_array(wanted)) return is_same_array(value, wanted);
    if (json_is_object(value) && json_is_object(wanted))
        return r2i_arguments_are_acceptable(value, wanted);
    return json_equal(value, wanted) == 1;
}

/* Is `value` one of `acceptable` (an array)? */
static bool is_acceptable(const json_t *value, const json_t *acceptable) {
    if (!json_is_array(acceptable)) return is_same_value(value, acceptable);
    for (size_t i = 0; i < json_array_size(acceptable); i++) {
        if (is_same_value(value, json_array_get(acceptable, i))) return true;
    }
    return false;
}

static bool may_be_left_out(const json_t *acceptable) {
    for (size_t i = 0; i < json_array_size(acceptable); i++) {
        const char *text = json_string_value(json_array_get(acceptable, i));
        if (text != NULL && text[0] == '\0') return true;
    }
    return false;
}

bool r2i_arguments_are_acceptable(const json_t *arguments, const json_t *acceptable) {
    const char *name;
    json_t *value;
    if (!json_is_object(arguments) || !json_is_object(acceptable)) return false;
    json_object_foreach((json_t *)(uintptr_t)arguments, name, value) {
        const json_t *wanted = json_object_get(acceptable, name);
        if (wanted == NULL || !is_acceptable(value, wanted)) return false;
    }
    json_object_foreach((json_t *)(uintptr_t)acceptable, name, value) {
        if (json_object_get(arguments, name) == NULL && !may_be_left_out(value)) return false;
    }
    return true;
}

bool r2i_is_function_name(const char *found, const char *wanted) {
    for (; *found != '\0' && *wanted != '\0'; found++, wanted++) {
        if (*found != *wanted && !(*wanted == '.' && *found == '_')) return false;
    }
    return *found == *wanted;
}
