/* What is compiled: give -DWZ_WITH_...=0 to leave a part out. A blob that needs what was left out is refused with WZ_BLOB_SCHEME. */
#ifndef WZ_CONFIG_H
#define WZ_CONFIG_H

#include <stdint.h>

#ifndef WZ_WITH_NESTED
#define WZ_WITH_NESTED 1
#endif
#ifndef WZ_WITH_TRELLIS
#define WZ_WITH_TRELLIS 1
#endif
#ifndef WZ_WITH_PREDICTIVE
#define WZ_WITH_PREDICTIVE 1
#endif
#ifndef WZ_WITH_SYNDROME
#define WZ_WITH_SYNDROME 1
#endif
#ifndef WZ_WITH_LAYERED
#define WZ_WITH_LAYERED 1
#endif
#ifndef WZ_WITH_LAYER_BLOCKS /* layered: packets that are blocks (SPEC 11.6) */
#define WZ_WITH_LAYER_BLOCKS 1
#endif
#ifndef WZ_WITH_CODED_BINS /* nested: a modulus that is no power of two */
#define WZ_WITH_CODED_BINS 1
#endif
#ifndef WZ_WITH_LEVEL_CHECK /* nested and trellis: 4 or 8 bits per packet over the turns */
#define WZ_WITH_LEVEL_CHECK 1
#endif
#ifndef WZ_TAPS /* the longest filter: 2 bytes of state for each tap but the first */
#define WZ_TAPS 16
#endif

#define WZ_WITH_FILTERED (WZ_WITH_NESTED || WZ_WITH_TRELLIS || WZ_WITH_SYNDROME)
#define WZ_WITH_BITS (WZ_WITH_FILTERED || WZ_WITH_LAYERED)
#define WZ_WITH_PUT_BITS (WZ_WITH_LEVEL_CHECK || WZ_WITH_SYNDROME || WZ_WITH_LAYERED)
#define WZ_WITH_RANGE_CODER (WZ_WITH_PREDICTIVE || WZ_WITH_LAYERED || (WZ_WITH_NESTED && WZ_WITH_CODED_BINS))

/* A condition that hardly ever holds: registers are for the other way. */
#ifdef __GNUC__
#define WZ_RARELY(condition) __builtin_expect((condition), 0)
#else
#define WZ_RARELY(condition) (condition)
#endif

/* A function that stays one: inlined it would take the registers of its caller. */
#ifdef __GNUC__
#define WZ_APART __attribute__((noinline))
#else
#define WZ_APART
#endif

/* What the code relies on, at compile time. */
#define WZ_ASSERT(name, condition) typedef char wz_assert_##name[(condition) ? 1 : -1]

WZ_ASSERT(shift_right_keeps_the_sign, (((int32_t)-7) >> 1) == -4);
WZ_ASSERT(two_s_complement, (int32_t)(~(uint32_t)0) == -1);
WZ_ASSERT(taps_within_the_format, WZ_TAPS >= 1 && WZ_TAPS <= 16);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blobs are used in place: a little-endian machine is needed"
#endif

#endif
