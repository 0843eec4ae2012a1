/* task_tool.c - a request and some tools: the right call as JSON, or "none" where no tool fits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "task/task_names.h"

enum { N_TOOLS = 8, MAX_ARGUMENTS = 2, VALUE_BYTES = 32, N_CITIES = 12, NO_TOOL_IN = 5 };
typedef enum { CITY, PERSON, NUMBER, HOUR, MINUTE, CURRENCY, THING } argument_type;

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "Choose a tool for this request and answer with JSON: its \"name\" and \"arguments\"; name "
      "\"none\" "
      "without arguments if no tool fits. Request: {0}",
      "\"{0}\" Which tool call is needed? Answer with JSON, \"name\" and \"arguments\"; if there "
      "is none, "
      "the name is \"none\" and the arguments are empty.",
      "A user writes: {0} Give the call as JSON with \"name\" and \"arguments\", or \"none\" and "
      "no arguments." },
    { "为这个请求选择工具，用 JSON 回答：\"name\" 和 \"arguments\"；没有合适的工具时 name 为 "
      "\"none\"，参数为空。请求：{0}",
      "“{0}”需要调用哪个工具？用 JSON 回答，含 \"name\" 和 \"arguments\"；若没有，名称为 "
      "\"none\"，参数为空。",
      "用户写道：{0}请给出 JSON 调用，含 \"name\" 和 \"arguments\"，或 \"none\" 且无参数。" },
    { "Elige una herramienta para esta petición y responde con JSON: \"name\" y \"arguments\"; "
      "name \"none\" "
      "sin argumentos si ninguna sirve. Petición: {0}",
      "\"{0}\" ¿Qué llamada hace falta? Responde con JSON, \"name\" y \"arguments\"; si no hay, el "
      "nombre es "
      "\"none\" y los argumentos están vacíos.",
      "Un usuario escribe: {0} Da la llamada como JSON con \"name\" y \"arguments\", o \"none\" "
      "sin argumentos." },
    { "Choisis un outil pour cette demande et réponds en JSON : \"name\" et \"arguments\" ; name "
      "\"none\" "
      "sans arguments si aucun ne convient. Demande : {0}",
      "\"{0}\" Quel appel faut-il ? Réponds en JSON, \"name\" et \"arguments\" ; s'il n'y en a "
      "pas, le nom est "
      "\"none\" et les arguments sont vides.",
      "Quelqu'un écrit : {0} Donne l'appel en JSON avec \"name\" et \"arguments\", ou \"none\" "
      "sans arguments." },
    { "Wähle ein Werkzeug für diese Anfrage und antworte mit JSON: \"name\" und \"arguments\"; "
      "name \"none\" "
      "ohne Argumente, wenn keines passt. Anfrage: {0}",
      "\"{0}\" Welcher Aufruf wird gebraucht? Antworte mit JSON, \"name\" und \"arguments\"; gibt "
      "es keinen, ist "
      "der Name \"none\" und die Argumente sind leer.",
      "Jemand schreibt: {0} Gib den Aufruf als JSON mit \"name\" und \"arguments\", oder \"none\" "
      "ohne Argumente." },
};

typedef struct {
    const char *name, *about; /* as tools are described in programs: in English */
    int32_t n_arguments;
    struct {
        const char *name;
        argument_type type;
    } arguments[MAX_ARGUMENTS];
    const char *requests[R2I_N_LANGUAGES]; /* take the arguments as texts, in order */
} tool;

static const tool tools[N_TOOLS] = {
    { "get_weather",
      "Weather of a city",
      1,
      { { "city", CITY } },
      { "What is the weather in %s?", "%s 的天气怎么样？", "¿Qué tiempo hace en %s?",
        "Quel temps fait-il à %s ?", "Wie ist das Wetter in %s?" } },
    { "convert_euros",
      "Amount of euros in another currency",
      2,
      { { "amount", NUMBER }, { "currency", CURRENCY } },
      { "How much are %s euros in %s?", "%s 欧元等于多少 %s？", "¿Cuánto son %s euros en %s?",
        "Combien font %s euros en %s ?", "Wie viel sind %s Euro in %s?" } },
    { "set_alarm",
      "Set an alarm clock",
      2,
      { { "hour", HOUR }, { "minute", MINUTE } },
      { "Wake me at %s hours and %s minutes.", "请在 %s 点 %s 分叫醒我。",
        "Despiértame a las %s horas y %s minutos.", "Réveille-moi à %s heures et %s minutes.",
        "Wecke mich um %s Uhr und %s Minuten." } },
    { "call_person",
      "Call somebody on the telephone",
      1,
      { { "person", PERSON } },
      { "I want to speak with %s, please ring now.", "我想和 %s 通话，请拨电话。",
        "Quiero hablar con %s por teléfono ahora.", "Je veux parler avec %s au téléphone.",
        "Ich will mit %s telefonieren." } },
    { "find_route",
      "Way from one city to another",
      2,
      { { "from", CITY }, { "to", CITY } },
      { "How do I get from %s to %s?", "怎么从 %s 去 %s？", "¿Cómo voy de %s a %s?",
        "Comment aller de %s à %s ?", "Wie komme ich von %s nach %s?" } },
    { "order_things",
      "Order goods from the shop",
      2,
      { { "thing", THING }, { "count", NUMBER } },
      { "I need these from the shop: %s, %s of them.", "我要在商店买%s，一共 %s 个。",
        "Necesito esto de la tienda: %s, en total %s.",
        "Il me faut ceci du magasin : %s, en tout %s.",
        "Ich brauche aus dem Laden: %s, und zwar %s." } },
    { "add_numbers",
      "Sum of two numbers",
      2,
      { { "a", NUMBER }, { "b", NUMBER } },
      { "What do %s and %s make together?", "%s 与 %s 加起来是多少？", "¿Cuánto suman %s y %s?",
        "Combien font ensemble %s et %s ?", "Was ergeben %s und %s zusammen?" } },
    { "pay_person",
      "Send money to somebody",
      2,
      { { "person", PERSON }, { "amount", NUMBER } },
      { "I owe %s money, send %s euros.", "我欠 %s 钱，请转 %s 欧元。",
        "Le debo dinero a %s, envía %s euros.", "Je dois de l'argent à %s, envoie %s euros.",
        "Ich schulde %s Geld, sende %s Euro." } },
};
static const char *const cities[N_CITIES] = { "Paris", "Madrid", "Berlin", "Rom",
                                              "Wien",  "Oslo",   "Porto",  "Riga",
                                              "Lima",  "Quito",  "Boston", "Sydney" };
static const char *const currencies[] = { "USD", "GBP", "JPY", "CHF", "CNY", "SEK" };
/* The tool that is wanted, its arguments, and that there is none. */
static const char *const said[R2I_N_LANGUAGES][2] = {
    { "What is needed:", "There is no tool for this." },
    { "需要：", "没有合适的工具。" },
    { "Hay que usar:", "No hay ninguna herramienta para esto." },
    { "Il faut :", "Il n'y a pas d'outil pour cela, il manque." },
    { "Wir brauchen:", "Es gibt aber dafür kein Werkzeug und keine Hilfe." },
};

static void draw_value(r2i_task_draft *d, argument_type type, char out[VALUE_BYTES]) {
    const char *text = NULL;
    if (type == CITY) text = cities[r2i_draw(d, 0, N_CITIES - 1)];
    if (type == PERSON) text = r2i_people[d->language][r2i_draw(d, 0, R2I_N_PEOPLE - 1)];
    if (type == THING) text = r2i_things[d->language][r2i_draw(d, 0, R2I_N_THINGS - 1)];
    if (type == CURRENCY) text = currencies[r2i_draw(d, 0, 5)];
    if (text != NULL)
        (void)snprintf(out, VALUE_BYTES, "%s", text);
    else
        (void)snprintf(out, VALUE_BYTES, "%lld",
                       (long long)r2i_draw(d, 0,
                                           type == HOUR     ? 23
                                           : type == MINUTE ? 59
                                                            : 500));
}

static bool is_number(argument_type type) {
    return type == NUMBER || type == HOUR || type == MINUTE;
}

static void say_tool(r2i_task_draft *d, const tool *t) {
    r2i_say(d, &d->body, "%s{\"name\": \"%s\", \"description\": \"%s\", \"parameters\": {",
            d->body.n_bytes > 0 ? "\n" : "", t->name, t->about);
    for (int32_t i = 0; i < t->n_arguments; i++)
        r2i_say(d, &d->body, "%s\"%s\": \"%s\"", i > 0 ? ", " : "", t->arguments[i].name,
                is_number(t->arguments[i].type) ? "integer" : "string");
    r2i_say(d, &d->body, "}}");
}

/* `other`: one that is there too. */
static void say_call(r2i_task_draft *d, const tool *t, const tool *other,
                     char values[][VALUE_BYTES]) {
    r2i_think(d, "%s ", said[d->language][0]);
    r2i_doubt(d, "`%s`", other->name);
    r2i_think(d, "`%s`", t->name);
    r2i_conclude(d, "{\"name\": \"%s\", \"arguments\": {", t->name);
    for (int32_t i = 0; i < t->n_arguments; i++) {
        const char *mark = is_number(t->arguments[i].type) ? "" : "\"";
        r2i_think(d, "\n`%s` = %s", t->arguments[i].name, values[i]);
        r2i_conclude(d, "%s\"%s\": %s%s%s", i > 0 ? ", " : "", t->arguments[i].name, mark,
                     values[i], mark);
    }
    r2i_conclude(d, "}}");
}

static void make(r2i_task_draft *d) {
    const int32_t n = d->level + 1;
    const bool has_tool = !r2i_draw_once_in(d, NO_TOOL_IN);
    int32_t order[N_TOOLS];
    char values[MAX_ARGUMENTS][VALUE_BYTES] = { "", "" };
    for (int32_t i = 0; i < N_TOOLS; i++)
        order[i] = i;
    r2i_draw_order(d, order, N_TOOLS);
    for (int32_t i = 0; i < n; i++) {
        say_tool(d, &tools[order[i]]);
        r2i_key_add(d, order[i]);
    }
    const tool *wanted = &tools[order[has_tool ? r2i_draw(d, 0, n - 1) : n]];
    for (int32_t i = 0; i < wanted->n_arguments; i++) {
        do {
            draw_value(d, wanted->arguments[i].type, values[i]);
        } while (i == 1 && strcmp(values[0], values[1]) == 0);
        r2i_key_add_text(d, values[i]);
        if (is_number(wanted->arguments[i].type)) r2i_note_operand(d, strtol(values[i], NULL, 10));
    }
    r2i_key_add_text(d, wanted->name);
    r2i_fill(d, 0, wanted->requests[d->language], values[0], values[1]);
    if (has_tool) {
        say_call(d, wanted, &tools[order[wanted == &tools[order[0]]]], values);
    } else {
        r2i_doubt(d, "%s `%s`", said[d->language][0], tools[order[0]].name);
        r2i_think(d, "%s", said[d->language][1]);
        r2i_conclude(d, "{\"name\": \"none\", \"arguments\": {}}");
    }
}

const r2i_task r2i_task_tool = { .name = "tool",
                                 .about =
                                     "a request answered by a call of one of 2 to 6 tools, or none",
                                 .n_levels = 5,
                                 .withheld_language = R2I_DE,
                                 .has_values = true,
                                 .kind = R2_GRADE_JSON,
                                 .questions = questions,
                                 .make = make };
