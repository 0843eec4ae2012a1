/* measure_text.c - plain prose, code, arithmetic and four languages, written for this purpose. */
#include "cli/measure_text.h"

#include <stddef.h>

const char *const r2i_measure_text[] = {
    "A lighthouse keeper has few visitors, and those who come rarely stay for long. The keeper of the "
    "northern rock was an exception to the rule that such people grow silent. She talked to the gulls "
    "in the morning, to the lamp in the evening, and to her notebook at night. Every page began with "
    "the wind: its direction, its force, and what it seemed to want. Below that came the ships. In "
    "winter there might be three in a week; in the herring season there were so many that she counted "
    "them in dozens and drew a small fish for each. When the inspector arrived from the mainland, he "
    "turned the pages slowly and said that no station on the coast kept better records. \"They are not "
    "records,\" she answered. \"They are letters, only nobody has come to collect them yet.\"\n\n",
    "Water expands when it freezes, which is unusual: most substances shrink as they become solid. The "
    "reason lies in the shape of the molecule. Two hydrogen atoms sit at an angle on one side of the "
    "oxygen, and in ice every molecule holds four neighbours at fixed distances, so that the crystal "
    "has large empty spaces. When ice melts, the order breaks, some molecules slip into the gaps, and "
    "the liquid becomes denser. This is why ice floats, why lakes freeze from the top, and why fish "
    "survive the winter beneath. It is also the reason that pipes burst: a litre of water becomes "
    "about 1.09 litres of ice, and a closed pipe has no room for the difference.\n\n",
    "def merge(left, right):\n    \"\"\"Merges two sorted lists into one.\"\"\"\n    result = []\n    i "
    "= j = 0\n    while i < len(left) and j < len(right):\n        if left[i] <= right[j]:\n            "
    "result.append(left[i])\n            i += 1\n        else:\n            result.append(right[j])\n   "
    "         j += 1\n    result.extend(left[i:])\n    result.extend(right[j:])\n    return "
    "result\n\n\ndef merge_sort(items):\n    \"\"\"Returns a sorted copy; equal items keep their "
    "order.\"\"\"\n    if len(items) <= 1:\n        return list(items)\n    middle = len(items) // 2\n  "
    "  return merge(merge_sort(items[:middle]), merge_sort(items[middle:]))\n\n\nif __name__ == "
    "\"__main__\":\n    print(merge_sort([5, 2, 9, 1, 5, 6]))\n\n",
    "static int count_words(const char *text) {\n    int n = 0, is_inside = 0;\n    for (const char *c = "
    "text; *c != '\\0'; c++) {\n        const int is_space = *c == ' ' || *c == '\\n' || *c == "
    "'\\t';\n        if (!is_space && !is_inside) n++;\n        is_inside = !is_space;\n    }\n    "
    "return n;\n}\n\nint main(void) {\n    const char *line = \"the quick brown fox\";\n    "
    "printf(\"%d words\\n\", count_words(line));\n    return 0;\n}\n\n",
    "Question: A train leaves at 9:40 and travels 210 kilometres at an average speed of 84 kilometres "
    "per hour. On the way it stops for 12 minutes. When does it arrive?\nAnswer: Without the stop the "
    "journey takes 210 / 84 = 2.5 hours, which is 2 hours and 30 minutes. With the stop it takes 2 "
    "hours and 42 minutes. 9:40 plus 2:42 is 12:22, so the train arrives at 12:22.\n\nQuestion: A "
    "baker sells three quarters of her loaves before noon and half of the rest in the afternoon. Nine "
    "loaves are left. How many did she bake?\nAnswer: After noon one quarter remains, and after the "
    "afternoon one eighth. One eighth is 9, so she baked 9 * 8 = 72 loaves.\n\n",
    "Ein Fahrrad ist ein erstaunlich einfaches Ger\xc3\xa4t. Zwei R\xc3\xa4" "der, ein Rahmen, eine "
    "Kette: mehr braucht es nicht, um f\xc3\xbcnfmal so schnell voranzukommen wie zu Fu\xc3\x9f. Wer "
    "es einmal gelernt hat, verlernt es nicht mehr.\n\nLe march\xc3\xa9 ouvre \xc3\xa0 six heures. Les "
    "premiers clients sont les cuisiniers, qui choisissent les poissons et les l\xc3\xa9gumes les plus "
    "frais; les habitants du quartier arrivent plus tard, avec leurs paniers et leurs enfants.\n\nLa "
    "biblioteca del pueblo tiene dos salas. En la primera est\xc3\xa1n los libros que todos leen; en "
    "la segunda, los que nadie ha abierto en veinte a\xc3\xb1os.\n\n",
    "\xe6\x98\xa5\xe5\xa4\xa9\xe6\x9d\xa5\xe4\xba\x86\xef\xbc\x8c\xe5\xb1\xb1\xe4\xb8\x8a\xe7\x9a\x84"
    "\xe9\x9b\xaa\xe5\xbc\x80\xe5\xa7\x8b\xe8\x9e\x8d\xe5\x8c\x96\xe3\x80\x82\xe5\xad\xa9\xe5\xad\x90"
    "\xe4\xbb\xac\xe5\x9c\xa8\xe6\xb2\xb3\xe8\xbe\xb9\xe7\x8e\xa9\xef\xbc\x8c\xe8\x80\x81\xe4\xba\xba"
    "\xe5\x9c\xa8\xe6\xa0\x91\xe4\xb8\x8b\xe4\xb8\x8b\xe6\xa3\x8b\xe3\x80\x82\n\n",
    "The history of measurement is a history of agreement. A foot was once the length of somebody's "
    "foot, and a pound was whatever the stone in the market said it was. Merchants who travelled "
    "carried tables of conversion and the suspicion that they were being cheated. When the metre was "
    "defined at the end of the eighteenth century as a part of the distance from the pole to the "
    "equator, the purpose was less precision than fairness: a length that belonged to nobody and could "
    "be found by anybody. The first bar was slightly too short, because the survey on which it was "
    "based contained an error, but by then the bar itself had become the standard, and the Earth was "
    "declared to be a little larger instead. Today the metre is the distance that light travels in a "
    "certain fraction of a second, and the second is a number of oscillations of an atom. Nobody can "
    "hold such a unit in the hand, and yet every ruler in the world follows it.\n\n"
    "Good tools share a quality that is hard to name. A well-made knife, a clear map and a reliable "
    "program have in common that they disappear while they are being used: the cook thinks of the "
    "onion, the traveller of the road, the reader of the answer. Only when something goes wrong does "
    "the tool come back into view, and then it matters a great deal how it fails. A knife should not "
    "break suddenly; a map should say where it is uncertain; a program should stop with a sentence "
    "that a person can understand. Those who build tools for others do well to imagine that moment "
    "first and the demonstration second.\n",
    NULL
};
