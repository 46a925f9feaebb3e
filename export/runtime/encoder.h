/* What the files of the runtime know of each other about packets and their ends. */
#ifndef WZ_ENCODER_H
#define WZ_ENCODER_H

#include "wz.h"

#define WZ_FLAG_HELLO 1   /* a hello is due */
#define WZ_FLAG_READY 2   /* a data frame waits to be taken */
#define WZ_FLAG_ABSENT 4  /* this packet has the bitmap of absent slots */
#define WZ_RATE_MASK 0x70 /* rate point of this packet */
#define WZ_RATE_SHIFT 4

/* The slots that are filled become a packet, which waits to be taken. */
void wz_end_packet(wz_encoder_t *encoder);

#endif
