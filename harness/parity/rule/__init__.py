"""The rule of parity: what each output of a model should be on one input, and how far an answer is from it.

reference    the expected outputs of any input, computed once for all cells; expected, made of two runs
wider_rule   what explains an error that the plain rule finds too large
no_reference why an input has no expected outputs: no run in float64, two answers, or a threshold
comparison   the error ratio of an answer; ulp, units in the last place
module_runs  runs of the module, as questions to the process that has it; model_runs, the same with ties broken
float64      the run in float64 of a model that was written for float32
purity       whether forward is a function of its inputs alone
indices      outputs that are indices, judged by the values that they point to
picks        operators that pick (topk, sort, …), watched or told what to pick
ties         the ways to break ties that explain an answer; their parts: tie_case, tie_guesses,
             tie_groups (the keys that are tied), tie_runs (which picks are valid)
sets         outputs whose rows come in any order; rows, rows matched one to one
canonical    the model file's own function of the outputs
"""
