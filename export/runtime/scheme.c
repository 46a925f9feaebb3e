/* Which schemes this build has. */
#include "scheme.h"

const wz_scheme_t *wz_find_scheme(uint32_t code)
{
    static const wz_scheme_t *const schemes[] = {
#if WZ_WITH_NESTED
        &wz_nested,
#endif
#if WZ_WITH_PREDICTIVE
        &wz_predictive,
#endif
#if WZ_WITH_TRELLIS
        &wz_trellis,
#endif
#if WZ_WITH_SYNDROME
        &wz_syndrome,
#endif
#if WZ_WITH_LAYERED
        &wz_layered,
#endif
    };
    for (uint32_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (schemes[i]->code == code)
            return schemes[i];
    return (const wz_scheme_t *)0;
}
