"""What everything but a sample's own bits says about it: fixed-interval smoothing of one packet, leaving each sample out.

`decoders.kalman` is causal and uses a sample's own bits at once. Codes that span a packet need the opposite: for each sample a
Gaussian belief from the past of the stream, from all neighbours' samples in the packet, and from what is so far believed
of the *other* samples of the packet (their *sites*: Gaussian stand-ins for what the code says), never from its own. Such
a belief is called a cavity; with the code in place of exact likelihoods this is expectation propagation.

Observations enter one by one: the last neighbour first, the site last. An observation of component j of the joint vector changes the
components below j only, so gains are triangular and nothing is inverted; one that is missing has weight 0 and needs no branch. Model
and joint vector as in `decoders.kalman`: z = (s[n+1], source, neighbours) = F s + g, Cov g = G.

References: Durbin and Koopman, Time Series Analysis by State Space Methods, 4.4 and 4.5 (smoothing recursions, r and N), 6.4
(univariate treatment); Minka, "Expectation propagation for approximate Bayesian inference".
"""

import math

import numpy as np
from numba import njit

NO_SITE = np.inf  # variance of a site that says nothing
LEAST_VARIANCE = 1e-9  # LSB^2
LEAST_GAIN = 1e-7  # a leave-one-out variance below this share of the site's is lost in rounding
MAX_UNROLLED = 10  # components of the joint vector up to which kernels are compiled for its very sizes

# Row of the store: the source given the past and the neighbours now, then its covariances with the next state, then of each
# neighbour its weighted surprise, its weight, and its gains.
VALUE, VARIANCE, SURPRISE, WEIGHT, COVARIANCES = range(5)


def store_size(d: int, m: int) -> int:
    """Floats per sample between the two passes."""
    return COVARIANCES + d + m * (d + 3) + m * (m - 1) // 2


def dims_of(d: int, m: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes as a type, one tuple as long as the state and one as long as there are neighbours: kernels are compiled for them, and can be
    cached, as functions made anew for each size cannot. Empty ones: sizes are read from the arrays."""
    return ((0,) * d, (0,) * m) if d + 1 + m <= MAX_UNROLLED else ((), ())


@njit(cache=True, error_model="numpy")
def _sizes(dims, F):
    return (len(dims[0]), len(dims[1])) if len(dims[0]) > 0 else (F.shape[1], F.shape[0] - F.shape[1] - 1)


@njit(cache=True, error_model="numpy")
def predict(dims, F, G, mean, s, P, z, joint, work):
    """The joint vector before any observation; the upper triangle of its covariance."""
    d, m = _sizes(dims, F)
    for i in range(d + 1 + m):
        total = mean[i - d] if i >= d else 0.0
        for k in range(d):
            total += F[i, k] * s[k]
        z[i] = total
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += F[i, k] * P[k, j]
            work[i, j] = total
    for i in range(d + 1 + m):
        for j in range(i, d + 1 + m):
            total = G[i, j]
            for k in range(d):
                total += work[i, k] * F[j, k]
            joint[i, j] = total


@njit(cache=True, error_model="numpy")
def observe(z, joint, j, surprise, weight):
    """z and joint below component j, given that an observation of it surprises by `surprise` and weighs `weight`."""
    for a in range(j):
        gain = joint[a, j] * weight
        z[a] += gain * surprise
        for b in range(a, j):
            joint[a, b] -= gain * joint[b, j]


@njit(cache=True, error_model="numpy")
def filter_packet(dims, state, F, G, mean, side, side_sigmas, site_means, site_variances, store, final):
    """The forward half of `smooth_packet`: no cavities, and in `store` what the backward half needs."""
    d, m = _sizes(dims, F)
    size = d + 1 + m
    room = np.empty(d + d * d + size + size * size + size * d)  # one allocation a packet: short ones feel each
    belief, room = room[: d + d * d], room[d + d * d :]
    z, room = room[:size], room[size:]
    joint, work = room[: size * size].reshape((size, size)), room[size * size :].reshape((size, d))
    s, P = belief[:d], belief[d:].reshape((d, d))
    belief[:] = state
    for n in range(side.shape[0]):
        predict(dims, F, G, mean, s, P, z, joint, work)
        at = COVARIANCES + d
        for back in range(m):
            k = m - 1 - back
            j = d + 1 + k
            surprise, variance = side[n, k] - z[j], joint[j, j] + side_sigmas[n, k] * side_sigmas[n, k]
            known = math.isfinite(surprise) and math.isfinite(variance)
            surprise = surprise if known else 0.0
            weight = 1.0 / max(variance, 1e-12) if known else 0.0
            store[n, at], store[n, at + 1] = surprise * weight, weight
            for a in range(j):
                store[n, at + 2 + a] = joint[a, j] * weight
            at += 2 + j
            observe(z, joint, j, surprise, weight)
        weight = 1.0 / max(joint[d, d] + site_variances[n], 1e-12)
        surprise = site_means[n] - z[d]
        store[n, VALUE], store[n, VARIANCE], store[n, SURPRISE], store[n, WEIGHT] = z[d], joint[d, d], surprise * weight, weight
        for a in range(d):
            store[n, COVARIANCES + a] = joint[a, d]
        observe(z, joint, d, surprise, weight)
        for i in range(d):
            s[i] = z[i]
            for j in range(i, d):
                P[i, j] = P[j, i] = joint[i, j]
    for i in range(d):
        final[i] = s[i]
        for j in range(d):
            final[d + i * d + j] = P[i, j]


@njit(cache=True, error_model="numpy")
def leave_out(dims, row, site_mean, site_variance, r, N):
    """Mean and variance of the source from past, neighbours and the later samples, without its own site."""
    d = len(dims[0]) if len(dims[0]) > 0 else r.shape[0]
    shift, narrowing = 0.0, 0.0
    for i in range(d):
        shift += row[COVARIANCES + i] * r[i]
        total = 0.0
        for j in range(d):
            total += N[i, j] * row[COVARIANCES + j]
        narrowing += row[COVARIANCES + i] * total
    weight, variance = row[WEIGHT], row[VARIANCE]
    scale = 1.0 / (1.0 + weight * narrowing)
    value = (site_mean * narrowing * weight + row[VALUE] + shift) * scale
    variance = (variance - (1.0 - variance * weight) * narrowing) * scale
    return value, max(variance, LEAST_VARIANCE, LEAST_GAIN * site_variance if weight > 0.0 else 0.0)


@njit(cache=True, error_model="numpy")
def give_back(row, gains, j, surprise, weight, scale, r, N):
    """The information of component j of the joint vector, from that of the components below it: the observation undone.

    `gains` + a: where in the row lies the gain of component a, over `scale`."""
    total = surprise
    for a in range(j):
        total -= scale * row[gains + a] * r[a]
    r[j] = total
    curvature = weight
    for a in range(j):
        total = 0.0
        for b in range(j):
            total += N[a, b] * row[gains + b]
        total *= scale
        N[a, j] = N[j, a] = -total
        curvature += scale * row[gains + a] * total
    N[j, j] = curvature


@njit(cache=True, error_model="numpy")
def smooth_packet(
    dims, state, F, G, mean, side, side_sigmas, site_means, site_variances, cavity_means, cavity_variances, store, final
):
    """Cavities of the T samples of a packet, and the filtered state behind it in `final`.

    state: mean and covariance (d + d*d) before the packet, unchanged; side, side_sigmas: (T, m), NaN missing; sites: (T,),
    variance NO_SITE where nothing is known; cavities: (T,) out; store: (T, store_size(d, m)) work space.
    """
    d, m = _sizes(dims, F)
    filter_packet(dims, state, F, G, mean, side, side_sigmas, site_means, site_variances, store, final)
    size = d + 1 + m
    room = np.zeros(size + size * size + size * d + d)
    r, room = room[:size], room[size:]
    N, room = room[: size * size].reshape((size, size)), room[size * size :]
    work, next_r = room[: size * d].reshape((size, d)), room[size * d :]
    for n in range(side.shape[0] - 1, -1, -1):
        row = store[n]
        cavity_means[n], cavity_variances[n] = leave_out(dims, row, site_means[n], site_variances[n], r[:d], N)
        give_back(row, COVARIANCES, d, row[SURPRISE], row[WEIGHT], row[WEIGHT], r, N)
        at = store.shape[1]
        for k in range(m):
            at -= d + 3 + k
            give_back(row, at + 2, d + 1 + k, row[at], row[at + 1], 1.0, r, N)
        for i in range(d):
            total = 0.0
            for k in range(d + 1 + m):
                total += F[k, i] * r[k]
            next_r[i] = total
        for a in range(d + 1 + m):
            for j in range(d):
                total = 0.0
                for k in range(d + 1 + m):
                    total += N[a, k] * F[k, j]
                work[a, j] = total
        for i in range(d):
            r[i] = next_r[i]
            for j in range(i, d):
                total = 0.0
                for k in range(d + 1 + m):
                    total += F[k, i] * work[k, j]
                N[i, j] = N[j, i] = total
