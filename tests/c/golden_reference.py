"""Prints the tables of golden values in test_reference.c: attention with 60 decimal digits.

An implementation of its own, from the formula at the top of attn.h: exact decimals of the same doubles,
rounded once at the end. Needs nothing but Python.
"""

from decimal import Decimal, getcontext

getcontext().prec = 60


def fill(count, step, modulus):
    """The doubles of test_reference.c's fill(): small multiples of 1/16, so exact."""
    return [Decimal((5 + step * i) % modulus - modulus // 2) / 16 for i in range(count)]


def tanh(x):
    e = (2 * x).exp()
    return (e - 1) / (e + 1)


def row(scores, values, dim_v):
    visible = [s for s in scores if s is not None]
    if not visible:
        return [Decimal(0)] * dim_v, None
    top = max(visible)
    weights = [Decimal(0) if s is None else (s - top).exp() for s in scores]
    total = sum(weights)
    out = [sum(w * v[d] for w, v in zip(weights, values)) / total for d in range(dim_v)]
    return out, top + total.ln()


def everything():
    """Sizes and options of the test 'agrees_with_sixty_digits_with_every_option_on'."""
    batch, heads, kv_heads, len_q, len_kv, dim, dim_v = 2, 4, 2, 3, 5, 3, 2
    q = fill(batch * heads * len_q * dim, 7, 31)
    k = fill(batch * kv_heads * len_kv * dim, 11, 37)
    v = fill(batch * kv_heads * len_kv * dim_v, 13, 41)
    slopes = fill(heads, 3, 17)
    add = fill(len_q * len_kv, 5, 23)
    lengths = [4, 5]
    scale, softcap = Decimal("0.75"), Decimal("1.5")
    outs, lses = [], []
    for b in range(batch):
        for h in range(heads):
            g = b * kv_heads + h // (heads // kv_heads)
            values = [v[(g * len_kv + j) * dim_v:][:dim_v] for j in range(len_kv)]
            for i in range(len_q):
                query = q[((b * heads + h) * len_q + i) * dim:][:dim]
                position = i + lengths[b] - len_q
                scores = []
                for j in range(len_kv):
                    if j >= lengths[b] or j > position or j < position - 2:
                        scores.append(None)
                        continue
                    key = k[(g * len_kv + j) * dim:][:dim]
                    s = scale * sum(x * y for x, y in zip(query, key))
                    s = softcap * tanh(s / softcap)
                    s -= slopes[h] * abs(position - j)
                    s += add[i * len_kv + j]
                    scores.append(None if (b + h + j) % 3 == 0 else s)
                out, lse = row(scores, values, dim_v)
                outs += out
                lses.append(lse)
    return outs, lses


def table(name, numbers):
    print(f"static const double {name}[{len(numbers)}] = {{")
    print(",\n".join("    " + ("-INFINITY" if x is None else float(x).hex()) for x in numbers))
    print("};")


if __name__ == "__main__":
    outs, lses = everything()
    table("golden_out", outs)
    table("golden_logsumexp", lses)
