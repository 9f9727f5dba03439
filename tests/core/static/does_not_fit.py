"Compositions that do not fit: a type checker refuses each line that ends in `# wrong`, and no other"
from typing import Literal as L
from upslope.core import Function, Vec, iterate, residual, residual_with
from upslope.layers import Dense

a = Dense[L[784], L[128]](128) >> Dense[L[64], L[10]](10)                                   # wrong
b = Dense[L[64], L[10]](10) << Dense[L[784], L[128]](128)                                   # wrong
c = Dense[L[3], L[4]](4) >> Dense[L[4], L[5]](5) >> Dense[L[6], L[7]](7)                    # wrong
d = residual(Dense[L[64], L[32]](32))                                                       # wrong
e = residual_with(Dense[L[64], L[32]](32), Dense[L[64], L[16]](16))                         # wrong
f = iterate(Dense[L[3], L[2]](2), 4)                                                        # wrong
g = Dense[L[3], L[5]](5) & Dense[L[4], L[6]](6)                                             # wrong
h = (Dense[L[3], L[5]](5) & Dense[L[3], L[6]](6)) >> Dense[L[5], L[2]](2)                   # wrong
i = (Dense[L[3], L[5]](5) & Dense[L[3], L[6]](6)) >> Dense[L[6], L[2]](2)*Dense[L[5], L[2]](2)   # wrong
j: Function[Vec[L[784]], Vec[L[10]]] = Dense[L[784], L[128]](128) >> Dense[L[128], L[11]](11)    # wrong
k = Dense[L[3], L[4]](4) >> Dense[L[4], L[5]](5)
