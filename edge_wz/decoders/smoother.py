"""What everything but a sample's own bits says about it: fixed-interval smoothing of one packet, leaving each sample out.

`decoders.kalman` is causal and uses a sample's own bits at once. Codes that span a packet need the opposite: for each sample a
Gaussian belief from the past of the stream, from all neighbours' samples in the packet, and from what is so far believed
of the *other* samples of the packet (their *sites*: Gaussian stand-ins for what the code says), never from its own. Such
a belief is called a cavity; with the code in place of exact likelihoods this is expectation propagation.

References: Durbin and Koopman, Time Series Analysis by State Space Methods, 4.4 and 4.5 (smoothing recursions, r and N;
leave-one-out residuals from u and D); Minka, "Expectation propagation for approximate Bayesian inference".

Model and stacking as in `decoders.kalman`: z = (s[n+1], source, neighbours) = F s + g, Cov g = G.
"""

import math

import numpy as np
from numba import njit

NO_SITE = np.inf  # variance of a site that says nothing
LEAST_GAIN = 1e-7  # a leave-one-out variance below this share of the site's is lost in rounding


@njit(cache=True)
def invert(matrix, size, out):
    """Inverse of a small symmetric positive matrix by Gauss-Jordan elimination; `matrix` is destroyed."""
    if size == 1:
        out[0, 0] = 1.0 / matrix[0, 0]
        return
    if size == 2:
        a, b, c = matrix[0, 0], matrix[0, 1], matrix[1, 1]
        determinant = a * c - b * b
        scale = 1.0 / (determinant if abs(determinant) > 1e-300 else 1e-300)
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = c * scale, -b * scale, -b * scale, a * scale
        return
    for i in range(size):
        for j in range(size):
            out[i, j] = 1.0 if i == j else 0.0
    for i in range(size):
        pivot = matrix[i, i]
        if abs(pivot) < 1e-300:
            pivot = 1e-300
        for j in range(size):
            matrix[i, j] /= pivot
            out[i, j] /= pivot
        for k in range(size):
            if k != i:
                factor = matrix[k, i]
                if factor != 0.0:
                    for j in range(size):
                        matrix[k, j] -= factor * matrix[i, j]
                        out[k, j] -= factor * out[i, j]


@njit(cache=True)
def smooth_packet(
    state, F, G, mean, side, side_sigmas, site_means, site_variances, cavity_means, cavity_variances, store, final
):
    """Cavities of the T samples of a packet, and the filtered state behind it in `final`.

    state: mean and covariance (d + d*d) before the packet, unchanged; side, side_sigmas: (T, m), NaN missing; sites: (T,), variance NO_SITE
    where nothing is known; cavities: (T,) out; store: (T, store_size(d, m)) work space.
    """
    size, d = F.shape
    rows = size - d
    filter_packet(state, F, G, mean, side, side_sigmas, site_means, site_variances, store, final)
    wide = 1 + rows * rows + rows + rows * d + d * rows + rows + 2 + d
    _backward(
        F, d, rows, side.shape[0], site_means, site_variances, cavity_means, cavity_variances, store, wide
    )


@njit(cache=True)
def filter_packet(state, F, G, mean, side, side_sigmas, site_means, site_variances, store, final):
    """The forward half of `smooth_packet`: no cavities, and in `store` what the backward half needs."""
    size, d = F.shape
    rows = size - d
    samples = side.shape[0]
    s, P = state[:d].copy(), state[d:].copy().reshape((d, d))
    e, H, K = np.empty(rows), np.empty((rows, d)), np.empty((d, rows))
    inverse, matrix, cross = np.empty((rows, rows)), np.empty((rows, rows)), np.empty((rows, d))
    present = np.empty(rows, np.int64)
    noise = np.empty(rows)
    AP, next_P = np.empty((d, d)), np.empty((d, d))
    next_s = np.empty(d)
    wide = 1 + rows * rows + rows + rows * d + d * rows + rows + 2 + d
    for n in range(samples):
        count = 0
        has_site = site_variances[n] < 1e300
        if has_site:
            present[0], noise[0] = 0, site_variances[n]
            e[0] = site_means[n] - mean[0]
            count = 1
        for j in range(rows - 1):
            if math.isfinite(side[n, j]) and math.isfinite(side_sigmas[n, j]):
                present[count], noise[count] = j + 1, side_sigmas[n, j] * side_sigmas[n, j]
                e[count] = side[n, j] - mean[j + 1]
                count += 1
        for i in range(d):
            for j in range(d):
                total = 0.0
                for k in range(d):
                    total += F[i, k] * P[k, j]
                AP[i, j] = total
        for i in range(count):
            row = d + present[i]
            for j in range(d):
                H[i, j] = F[row, j]
                e[i] -= F[row, j] * s[j]
                total = 0.0
                for k in range(d):
                    total += F[row, k] * P[k, j]
                cross[i, j] = total  # H P
        for i in range(count):
            for j in range(count):
                total = G[d + present[i], d + present[j]]
                for k in range(d):
                    total += cross[i, k] * H[j, k]
                if i == j:
                    total += noise[i]
                    if total < 1e-12:
                        total = 1e-12
                matrix[i, j] = total
        invert(matrix, count, inverse)
        # gain K = (A P H' + S) Sigma^-1
        for i in range(d):
            for j in range(count):
                total = 0.0
                for other in range(count):
                    covariance = G[i, d + present[other]]
                    for k in range(d):
                        covariance += AP[i, k] * H[other, k]
                    total += covariance * inverse[other, j]
                K[i, j] = total
        row_store = store[n]
        row_store[0] = count
        if not has_site:
            _store_open_sample(row_store, wide - d - 2, s, P, AP, F, G, mean, H, present, e, inverse, K, count, d)
        at = 1
        for i in range(count):
            for j in range(count):
                row_store[at] = inverse[i, j]
                at += 1
        for i in range(count):
            total = 0.0
            for j in range(count):
                total += inverse[i, j] * e[j]
            row_store[at] = total
            at += 1
        for i in range(count):
            for j in range(d):
                row_store[at] = H[i, j]
                at += 1
        for i in range(d):
            for j in range(count):
                row_store[at] = K[i, j]
                at += 1
        for i in range(d):
            total = 0.0
            for k in range(d):
                total += F[i, k] * s[k]
            for j in range(count):
                total += K[i, j] * e[j]
            next_s[i] = total
            for j in range(i, d):
                total = G[i, j]
                for k in range(d):
                    total += AP[i, k] * F[j, k]
                for other in range(count):
                    covariance = G[j, d + present[other]]
                    for k in range(d):
                        covariance += AP[j, k] * H[other, k]
                    total -= K[i, other] * covariance
                next_P[i, j] = total
                next_P[j, i] = total
        for i in range(d):
            s[i] = next_s[i]
            for j in range(d):
                P[i, j] = next_P[i, j]
    for i in range(d):
        final[i] = s[i]
        for j in range(d):
            final[d + i * d + j] = P[i, j]


@njit(cache=True)
def store_size(d, neighbours):
    """Floats per sample that `smooth_packet` keeps between its passes."""
    rows = neighbours + 1
    return 1 + rows * rows + rows + rows * d + d * rows + rows + 2 + d


@njit(cache=True)
def _store_open_sample(out, at, s, P, AP, F, G, mean, H, present, e, inverse, K, count, d):
    """Source without a site: its mean and variance given past and neighbours now, and its covariance with the next state."""
    value = mean[0]
    variance = G[d, d]
    for k in range(d):
        value += F[d, k] * s[k]
        for j in range(d):
            variance += F[d, k] * P[k, j] * F[d, j]
    for i in range(d):
        total = G[i, d]
        for k in range(d):
            total += AP[i, k] * F[d, k]
        out[at + 2 + i] = total
    for i in range(count):
        covariance_i = G[d, d + present[i]]
        for k in range(d):
            for j in range(d):
                covariance_i += H[i, j] * P[j, k] * F[d, k]
        for other in range(count):
            covariance_l = G[d, d + present[other]]
            for k in range(d):
                for j in range(d):
                    covariance_l += H[other, j] * P[j, k] * F[d, k]
            value += covariance_i * inverse[i, other] * e[other]
            variance -= covariance_i * inverse[i, other] * covariance_l
        for j in range(d):
            out[at + 2 + j] -= K[j, i] * covariance_i
    out[at] = value
    out[at + 1] = variance


@njit(cache=True)
def _backward(F, d, rows, samples, site_means, site_variances, cavity_means, cavity_variances, store, wide):
    r, N = np.zeros(d), np.zeros((d, d))
    new_r = np.empty(d)
    NK, L, NL = np.empty((d, rows)), np.empty((d, d)), np.empty((d, d))
    for n in range(samples - 1, -1, -1):
        row = store[n]
        count = int(row[0])
        # where in the row begin the vector of weighted surprises, H (count, d), K (d, count); the inverse begins at 1
        weighted = 1 + count * count
        H = weighted + count
        K = H + count * d
        has_site = site_variances[n] < 1e300
        for i in range(d):
            for j in range(count):
                total = 0.0
                for k in range(d):
                    total += N[i, k] * row[K + k * count + j]
                NK[i, j] = total
        if has_site:
            residual = row[weighted]
            precision = row[1]
            for k in range(d):
                residual -= row[K + k * count] * r[k]
                precision += row[K + k * count] * NK[k, 0]
            cavity_means[n] = site_means[n] - residual / precision
            cavity_variances[n] = max(1.0 / precision - site_variances[n], LEAST_GAIN * site_variances[n])
        else:
            at = wide - d - 2
            value, variance = row[at], row[at + 1]
            for i in range(d):
                value += row[at + 2 + i] * r[i]
                for j in range(d):
                    variance -= row[at + 2 + i] * N[i, j] * row[at + 2 + j]
            cavity_means[n] = value
            cavity_variances[n] = max(variance, 1e-9)
        for i in range(d):
            for j in range(d):
                total = F[i, j]
                for k in range(count):
                    total -= row[K + i * count + k] * row[H + k * d + j]
                L[i, j] = total
        for i in range(d):
            total = 0.0
            for k in range(count):
                total += row[H + k * d + i] * row[weighted + k]
            for k in range(d):
                total += L[k, i] * r[k]
            new_r[i] = total
        for i in range(d):
            for j in range(d):
                total = 0.0
                for k in range(d):
                    total += N[i, k] * L[k, j]
                NL[i, j] = total
        for i in range(d):
            r[i] = new_r[i]
            for j in range(i, d):
                total = 0.0
                for k in range(d):
                    total += L[k, i] * NL[k, j]
                for k in range(count):
                    for other in range(count):
                        total += row[H + k * d + i] * row[1 + k * count + other] * row[H + other * d + j]
                N[i, j] = total
                N[j, i] = total
