/* SMP lines: see wz_line.h. */
#include "wz_line.h"

#include "wz_bytes.h"

enum { OUTSIDE, START_9, CONTINUE_20, INSIDE }; /* START_9: 06 has come; CONTINUE_20: 04 has come */

/* CRC-16/XMODEM. */
static unsigned check16(const uint8_t *bytes, size_t count)
{
    unsigned crc = 0;
    unsigned bit;

    while (count--) {
        crc ^= (unsigned)*bytes++ << 8;
        for (bit = 0; bit < 8; bit++) {
            crc = (crc << 1 ^ (crc & 0x8000u ? 0x1021u : 0)) & 0xFFFFu;
        }
    }
    return crc;
}

static int six_bits(uint8_t character)
{
    if (character >= 'A' && character <= 'Z') {
        return character - 'A';
    }
    if (character >= 'a' && character <= 'z') {
        return character - 'a' + 26;
    }
    if (character >= '0' && character <= '9') {
        return character - '0' + 52;
    }
    return character == '+' ? 62 : character == '/' ? 63 : -1;
}

static char character_of(uint32_t six)
{
    if (six < 26) {
        return (char)('A' + six);
    }
    if (six < 52) {
        return (char)('a' + six - 26);
    }
    if (six < 62) {
        return (char)('0' + six - 52);
    }
    return six == 62 ? '+' : '/';
}

static void begin(wz_line_t *line, int first)
{
    line->state = INSIDE;
    line->group = 0;
    line->bits = 0;
    if (first) {
        line->bad += line->begun; /* the message before was never finished */
        line->begun = 1;
        line->padding = 0;
        line->fill = 0;
    }
}

static void give_up(wz_line_t *line)
{
    line->state = OUTSIDE;
    line->begun = 0;
    line->bad++;
}

/* Four characters have come: one to three bytes. 0 if they do not fit or are no base64. */
static int end_group(wz_line_t *line)
{
    unsigned bytes = 3u - line->padding;
    unsigned index;

    if (line->padding > 2 || line->fill + bytes > WZ_SMP_BUFFER || (line->bits & (((uint32_t)1 << 8 * line->padding) - 1))) {
        return 0;
    }
    for (index = 0; index < bytes; index++) {
        line->buffer[line->fill++] = (uint8_t)(line->bits >> (16 - 8 * index));
    }
    line->group = 0;
    line->bits = 0;
    return 1;
}

static int take_character(wz_line_t *line, uint8_t byte)
{
    int six = six_bits(byte);

    if (byte == '=' && line->group) {
        line->padding++;
        six = 0;
    } else if (six < 0 || line->padding) {
        return 0;
    }
    line->bits = line->bits << 6 | (uint32_t)six;
    return ++line->group < 4 || end_group(line);
}

/* A newline has come: the bytes of the message if it is whole and checks. */
static size_t end_line(wz_line_t *line)
{
    size_t told;

    if (line->group || line->fill < 2) {
        give_up(line);
        return 0;
    }
    told = wz_big16(line->buffer);
    line->state = OUTSIDE;
    if ((size_t)line->fill - 2 < told && !line->padding) {
        return 0;
    }
    if ((size_t)line->fill - 2 != told || told < 2 || check16(line->buffer + 2, told - 2) != wz_big16(line->buffer + told)) {
        give_up(line);
        return 0;
    }
    line->begun = 0;
    return told - 2;
}

size_t wz_line_feed(wz_line_t *line, uint8_t byte)
{
    if (line->state == INSIDE) {
        if (byte == '\n') {
            return end_line(line);
        }
        if (take_character(line, byte)) {
            return 0;
        }
        give_up(line);
    } else if (line->state == START_9 && byte == 9) {
        begin(line, 1);
        return 0;
    } else if (line->state == CONTINUE_20 && byte == 20 && line->begun) {
        begin(line, 0);
        return 0;
    }
    line->state = byte == 6 ? START_9 : byte == 4 ? CONTINUE_20 : OUTSIDE;
    return 0;
}

size_t wz_line_write(uint8_t line[WZ_LINE_BYTES], uint8_t *message, size_t count)
{
    unsigned check = check16(message + 2, count);
    size_t at = 2;
    size_t index;
    int shift;

    message[0] = (uint8_t)((count + 2) >> 8);
    message[1] = (uint8_t)(count + 2);
    message[count + 2] = (uint8_t)(check >> 8);
    message[count + 3] = (uint8_t)check;
    count += 4;
    line[0] = 6;
    line[1] = 9;
    for (index = 0; index < count; index += 3) {
        size_t left = count - index;
        uint32_t bits = (uint32_t)message[index] << 16;

        bits |= left > 1 ? (uint32_t)message[index + 1] << 8 : 0;
        bits |= left > 2 ? message[index + 2] : 0;
        for (shift = 18; shift >= 0; shift -= 6) {
            line[at++] = (uint8_t)character_of(bits >> shift & 63u);
        }
        if (left < 3) {
            line[at - 1] = '=';
        }
        if (left < 2) {
            line[at - 2] = '=';
        }
    }
    line[at++] = '\n';
    return at;
}
