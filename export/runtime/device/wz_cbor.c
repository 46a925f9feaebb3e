/* CBOR of requests and answers: see wz_cbor.h. */
#include "wz_cbor.h"

#include "wz_bytes.h"

typedef struct {
    char name[8];
    uint8_t major;
} wz_known_t;

static const wz_known_t KNOWN[WZ_KEYS] = {
    {"d", WZ_CBOR_TEXT},    {"off", WZ_CBOR_UINT},    {"len", WZ_CBOR_UINT},   {"data", WZ_CBOR_BYTES},
    {"sha", WZ_CBOR_BYTES}, {"image", WZ_CBOR_UINT},  {"hash", WZ_CBOR_BYTES}, {"confirm", WZ_CBOR_SIMPLE},
};

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} wz_reader_t;

typedef struct {
    unsigned major;
    wz_field_t field;
} wz_item_t;

enum { WZ_SIMPLE_FALSE = 20, WZ_SIMPLE_TRUE = 21, WZ_SIMPLE_NULL = 22 };

/* Major type and argument; arguments of eight bytes and indefinite lengths are refused. */
static int read_head(wz_reader_t *reader, wz_item_t *item)
{
    unsigned first;
    unsigned more;

    if (reader->at == reader->end) {
        return 0;
    }
    first = *reader->at++;
    item->major = first >> 5;
    item->field.value = first & 31u;
    if (item->field.value < 24) {
        return 1;
    }
    if (item->field.value > 26) {
        return 0;
    }
    more = 1u << (item->field.value - 24);
    if ((size_t)(reader->end - reader->at) < more) {
        return 0;
    }
    item->field.value = 0;
    while (more--) {
        item->field.value = item->field.value << 8 | *reader->at++;
    }
    return 1;
}

/* One item that may stand in a request: no array, map, tag, float or negative number. */
static int read_item(wz_reader_t *reader, wz_item_t *item)
{
    item->field.bytes = NULL;
    if (!read_head(reader, item)) {
        return 0;
    }
    switch (item->major) {
    case WZ_CBOR_UINT:
        return 1;
    case WZ_CBOR_BYTES:
    case WZ_CBOR_TEXT:
        if (item->field.value > (size_t)(reader->end - reader->at)) {
            return 0;
        }
        item->field.bytes = reader->at;
        reader->at += item->field.value;
        return 1;
    case WZ_CBOR_SIMPLE:
        if (reader->at[-1] < (WZ_CBOR_SIMPLE << 5 | WZ_SIMPLE_FALSE) || reader->at[-1] > (WZ_CBOR_SIMPLE << 5 | WZ_SIMPLE_NULL)) {
            return 0;
        }
        item->field.value = item->field.value == WZ_SIMPLE_TRUE;
        return 1;
    default:
        return 0;
    }
}

static int known_key(const wz_field_t *key)
{
    int index;

    for (index = 0; index < WZ_KEYS; index++) {
        if (key->value == wz_text_length(KNOWN[index].name) && wz_same(key->bytes, KNOWN[index].name, key->value)) {
            return index;
        }
    }
    return -1;
}

int wz_cbor_read(wz_request_t *request, const uint8_t *bytes, size_t count)
{
    wz_reader_t reader;
    wz_item_t item;
    uint32_t pairs;

    *request = (wz_request_t){0};
    reader.at = bytes;
    reader.end = bytes + count;
    if (!read_head(&reader, &item) || item.major != WZ_CBOR_MAP) {
        return 0;
    }
    for (pairs = item.field.value; pairs; pairs--) {
        int key;

        if (!read_item(&reader, &item) || item.major != WZ_CBOR_TEXT) {
            return 0;
        }
        key = known_key(&item.field);
        if (!read_item(&reader, &item)) {
            return 0;
        }
        if (key < 0) {
            continue;
        }
        if (item.major != KNOWN[key].major || (request->seen >> key & 1u)) {
            return 0;
        }
        request->seen |= (uint32_t)1 << key;
        request->field[key] = item.field;
    }
    return reader.at == reader.end;
}

static void put(wz_answer_t *answer, uint8_t byte)
{
    if (answer->at == answer->end) {
        answer->full = 1;
    } else {
        *answer->at++ = byte;
    }
}

void wz_cbor_open(wz_answer_t *answer, uint8_t *bytes, size_t capacity)
{
    answer->at = bytes;
    answer->end = bytes + capacity;
    answer->full = 0;
    answer->map = bytes;
    wz_cbor_head(answer, WZ_CBOR_MAP, 0);
}

void wz_cbor_head(wz_answer_t *answer, unsigned major, uint32_t value)
{
    unsigned bits = value < 24 ? 0 : value < 256 ? 8 : value < 65536 ? 16 : 32;
    unsigned extra = bits == 32 ? 26 : bits == 16 ? 25 : 24;

    put(answer, (uint8_t)(major << 5 | (bits ? extra : value)));
    while (bits) {
        bits -= 8;
        put(answer, (uint8_t)(value >> bits));
    }
}

void wz_cbor_string(wz_answer_t *answer, unsigned major, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;

    wz_cbor_head(answer, major, (uint32_t)count);
    while (count--) {
        put(answer, *at++);
    }
}

void wz_cbor_text(wz_answer_t *answer, const char *text)
{
    wz_cbor_string(answer, WZ_CBOR_TEXT, text, wz_text_length(text));
}

void wz_cbor_key(wz_answer_t *answer, const char *key)
{
    ++*answer->map;
    wz_cbor_text(answer, key);
}

void wz_cbor_uint(wz_answer_t *answer, const char *key, uint32_t value)
{
    wz_cbor_key(answer, key);
    wz_cbor_head(answer, WZ_CBOR_UINT, value);
}

void wz_cbor_bool(wz_answer_t *answer, const char *key, int value)
{
    wz_cbor_key(answer, key);
    put(answer, (uint8_t)(WZ_CBOR_SIMPLE << 5 | (value ? WZ_SIMPLE_TRUE : WZ_SIMPLE_FALSE)));
}
