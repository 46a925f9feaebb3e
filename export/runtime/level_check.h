/* CRC-8 over the turns of a packet (SPEC 3.2): it tells a wrongly resolved bin; corrupt bytes are for the CRC-16. */
#ifndef WZ_LEVEL_CHECK_H
#define WZ_LEVEL_CHECK_H

#include "wz.h"

/* The check after one more present sample, by half bytes. */
static inline uint32_t wz_check_step(uint32_t c, uint32_t turn)
{
    static const uint8_t half[16] = {0x00, 0x2F, 0x5E, 0x71, 0xBC, 0x93, 0xE2, 0xCD,
                                     0x57, 0x78, 0x09, 0x26, 0xEB, 0xC4, 0xB5, 0x9A};
    c ^= turn;
    c = (c << 4) ^ half[(c >> 4) & 15];
    return ((c << 4) ^ half[(c >> 4) & 15]) & 255;
}

/* The 4 or 8 bits that are sent of the check `c`. */
static inline uint32_t wz_check_fold(uint32_t c, uint32_t bits)
{
    return bits == 8 ? c : (c >> 4) ^ (c & 15);
}

#endif
