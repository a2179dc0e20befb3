"""Llama Guard before and after the model: what is said to it, what its answer means, what follows.

The prompt, the reading of an answer, the policy and the windows of a stream are pure; `judge` asks
a guard model for verdicts and fails closed.
"""
