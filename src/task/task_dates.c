/* task_dates.c - days between two dates, and the day of the week of one from that of another. */
#include "task/task_draft.h"

enum { FIRST_YEAR = 1950, LAST_YEAR = 2040, DAYS_A_WEEK = 7 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "How many days are there from {0} to {1}?", "Count the days from {0} to {1}.",
      "It is {0}. In how many days will it be {1}?" },
    { "从 {0} 到 {1} 有多少天？", "计算 {0} 至 {1} 的天数。", "今天是 {0}，再过几天是 {1}？" },
    { "¿Cuántos días hay de {0} a {1}?", "Cuenta los días de {0} a {1}.",
      "Hoy es {0}. ¿En cuántos días será {1}?" },
    { "Combien de jours y a-t-il du {0} au {1} ?", "Compte les jours du {0} au {1}.",
      "Nous sommes le {0}. Dans combien de jours serons-nous le {1} ?" },
    { "Wie viele Tage sind es vom {0} bis zum {1}?", "Zähle die Tage vom {0} zum {1}.",
      "Heute ist der {0}. In wie vielen Tagen ist der {1}?" },
};
static const char *const weekday_questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "{0} is a {2}. Which day of the week is {1}?", "If {0} is a {2}, what weekday is {1}?",
      "Name the weekday of {1}; {0} is a {2}." },
    { "{0} 是{2}。{1} 是星期几？", "如果 {0} 是{2}，那么 {1} 是星期几？",
      "说出 {1} 是星期几；{0} 是{2}。" },
    { "{0} es {2}. ¿Qué día de la semana es {1}?", "Si {0} es {2}, ¿qué día de la semana es {1}?",
      "Di el día de la semana de {1}; {0} es {2}." },
    { "Le {0} est un {2}. Quel jour de la semaine est le {1} ?",
      "Si le {0} est un {2}, quel jour de la semaine est le {1} ?",
      "Donne le jour de la semaine du {1} ; le {0} est un {2}." },
    { "Der {0} ist ein {2}. Welcher Wochentag ist der {1}?",
      "Wenn der {0} ein {2} ist, welcher Wochentag ist der {1}?",
      "Nenne den Wochentag vom {1}; der {0} ist ein {2}." },
};
static const char *const weekdays[R2I_N_LANGUAGES][DAYS_A_WEEK] = {
    { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" },
    { "星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日" },
    { "lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo" },
    { "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche" },
    { "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag" },
};
static const char *const said[R2I_N_LANGUAGES] = { "days", "天", "días", "jours", "Tage" };

typedef struct {
    int32_t year, month, day;
} date;

static bool is_leap(int32_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int32_t days_of(int32_t year, int32_t month) {
    static const int8_t days[] = { 0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return days[month] + (month == 2 && is_leap(year));
}

/* Days since 1 January of the year 1, a Monday. */
static int32_t number_of(date x) {
    const int32_t y = x.year - 1;
    int32_t n = y * 365 + y / 4 - y / 100 + y / 400 + x.day - 1;
    for (int32_t m = 1; m < x.month; m++)
        n += days_of(x.year, m);
    return n;
}

static date date_of(int32_t number) {
    date x = { number / 366 + 1, 1, 1 };
    while (number_of((date){ x.year + 1, 1, 1 }) <= number)
        x.year++;
    int32_t left = number - number_of(x);
    for (; left >= days_of(x.year, x.month); x.month++)
        left -= days_of(x.year, x.month);
    x.day += left;
    return x;
}

static void fill_date(r2i_task_draft *d, int i, date x) {
    r2i_fill(d, i, "%04d-%02d-%02d", x.year, x.month, x.day);
}

/* To the end of each month, of each year where whole years lie between, and the days of the last month. */
static void say_days(r2i_task_draft *d, date a, date b) {
    const char *w = said[d->language];
    int32_t sum = 0;
    while (a.year < b.year || a.month < b.month) {
        const bool is_year = a.month == 1 && a.day == 1 && a.year < b.year;
        const int32_t n = is_year ? 365 + is_leap(a.year) : days_of(a.year, a.month) - a.day + 1;
        date next = { a.year + is_year, is_year ? 1 : a.month + 1, 1 };
        if (next.month > 12) next = (date){ a.year + 1, 1, 1 };
        r2i_think(d, "%04d-%02d-%02d: %d+%d=", next.year, next.month, next.day, sum, n);
        sum += n;
        r2i_doubt(d, "%d", sum + 1);
        r2i_think(d, "%d %s\n", sum, w);
        a = next;
    }
    r2i_think(d, "%04d-%02d-%02d: %d+%d=", b.year, b.month, b.day, sum, b.day - a.day);
    sum += b.day - a.day;
    r2i_doubt(d, "%d", sum + 1);
    r2i_think(d, "%d %s\n", sum, w);
}

/* Two dates as far apart as the level says.  Withheld are years: 1964, 2011, ... */
static int32_t draw_dates(r2i_task_draft *d, date *a, date *b) {
    static const int32_t farthest[] = { 0, 27, 60, 365, 1100, 3652, 7000 };
    const int32_t first = number_of((date){ FIRST_YEAR, 1, 1 }),
                  from = (int32_t)r2i_draw(d, first, number_of((date){ LAST_YEAR, 1, 1 })),
                  n = (int32_t)r2i_draw(d, d->level > 5 ? farthest[5] + 1 : 2, farthest[d->level]);
    *a = date_of(from);
    *b = date_of(from + n);
    r2i_note_operand(d, a->year % 100);
    r2i_key_add(d, from);
    r2i_key_add(d, n);
    fill_date(d, 0, *a);
    fill_date(d, 1, *b);
    say_days(d, *a, *b);
    return n;
}

static void make_days(r2i_task_draft *d) {
    date a, b;
    r2i_conclude(d, "%d", draw_dates(d, &a, &b));
}

static void make_weekday(r2i_task_draft *d) {
    const char *const *names = weekdays[d->language];
    date a, b;
    const int32_t n = draw_dates(d, &a, &b), from = number_of(a) % DAYS_A_WEEK,
                  left = n % DAYS_A_WEEK, to = (from + left) % DAYS_A_WEEK;
    r2i_fill(d, 2, "%s", names[from]);
    r2i_think(d, "%d=%d*%d+", n, DAYS_A_WEEK, n / DAYS_A_WEEK);
    r2i_doubt(d, "%d", left + 1);
    r2i_think(d, "%d\n", left);
    for (int32_t i = 1; i <= left; i++)
        r2i_think(d, "%d %s\n", i, names[(from + i) % DAYS_A_WEEK]);
    r2i_conclude(d, "%s", names[to]);
}

const r2i_task r2i_task_days = { .name = "days",
                                 .about = "days between two dates, up to ten years",
                                 .n_levels = 5,
                                 .withheld_language = R2I_ES,
                                 .has_values = true,
                                 .kind = R2_GRADE_NUMBER,
                                 .questions = questions,
                                 .make = make_days };
const r2i_task r2i_task_weekday = { .name = "weekday",
                                    .about = "the day of the week of a date, from that of another",
                                    .n_levels = 5,
                                    .has_values = true,
                                    .kind = R2_GRADE_EXACT,
                                    .questions = weekday_questions,
                                    .make = make_weekday };
