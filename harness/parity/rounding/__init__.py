"""How far correct float32 programs may differ on one input: from each other, and from the float64 run.

conditioning     what rounding the input moves the outputs by
bounds           what rounding within operators moves the outputs by
operator_errors  the errors that correct programs may make in one operator: a table by operator, from sum_errors,
                 norm_errors and range_errors; operator_call, one call of an operator
summation        how far a sum may be off in any order; pooling, the same for averages of windows
"""
