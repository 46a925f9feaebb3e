/* The few byte loops that the device needs of what a C library has; a compiler that targets a bare board has no library. */
#ifndef WZ_BYTES_H
#define WZ_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline size_t wz_text_length(const char *text)
{
    size_t length = 0;

    while (text[length]) {
        length++;
    }
    return length;
}

static inline int wz_same(const void *one, const void *other, size_t count)
{
    const uint8_t *a = (const uint8_t *)one;
    const uint8_t *b = (const uint8_t *)other;

    while (count--) {
        if (*a++ != *b++) {
            return 0;
        }
    }
    return 1;
}

static inline void wz_copy(void *to, const void *from, size_t count)
{
    uint8_t *a = (uint8_t *)to;
    const uint8_t *b = (const uint8_t *)from;

    while (count--) {
        *a++ = *b++;
    }
}

static inline uint32_t wz_little32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint32_t wz_big16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

#endif
