"""`tslc doctor`: look at a machine or a node, say what is wrong and what to do."""
