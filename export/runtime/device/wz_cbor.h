/* The little CBOR that SMP needs: requests are one flat map, answers are written front to back (SPEC 12.2).
 *
 * Strict on purpose: what a request may contain is less than CBOR allows, so that nothing has to be skipped by recursion and no
 * length can wrap. Keys are compared whole.
 */
#ifndef WZ_CBOR_H
#define WZ_CBOR_H

#include <stddef.h>
#include <stdint.h>

enum { WZ_CBOR_UINT = 0, WZ_CBOR_BYTES = 2, WZ_CBOR_TEXT = 3, WZ_CBOR_ARRAY = 4, WZ_CBOR_MAP = 5, WZ_CBOR_SIMPLE = 7 };

/* All keys that a request of any command may have. */
enum { WZ_KEY_D, WZ_KEY_OFF, WZ_KEY_LEN, WZ_KEY_DATA, WZ_KEY_SHA, WZ_KEY_IMAGE, WZ_KEY_HASH, WZ_KEY_CONFIRM, WZ_KEYS };

typedef struct {
    uint32_t value;       /* an integer, a length in bytes, 0 or 1 for a truth value */
    const uint8_t *bytes; /* of a text or byte string, in the request; else NULL */
} wz_field_t;

typedef struct {
    uint32_t seen; /* bit k: key k is there; fields of keys that are not are 0 */
    wz_field_t field[WZ_KEYS];
} wz_request_t;

/* 1 if the bytes are one map that keeps the rules, and nothing else. */
int wz_cbor_read(wz_request_t *request, const uint8_t *bytes, size_t count);

typedef struct {
    uint8_t *at;
    uint8_t *end;
    uint8_t *map;  /* head of the map that `wz_cbor_key` adds to; at most 23 keys */
    uint8_t full;  /* something did not fit and was not written */
} wz_answer_t;

void wz_cbor_open(wz_answer_t *answer, uint8_t *bytes, size_t capacity); /* begins the map */
void wz_cbor_head(wz_answer_t *answer, unsigned major, uint32_t value);
void wz_cbor_string(wz_answer_t *answer, unsigned major, const void *bytes, size_t count);
void wz_cbor_text(wz_answer_t *answer, const char *text);
void wz_cbor_key(wz_answer_t *answer, const char *key); /* its value has to follow */
void wz_cbor_uint(wz_answer_t *answer, const char *key, uint32_t value);
void wz_cbor_bool(wz_answer_t *answer, const char *key, int value);

#endif
