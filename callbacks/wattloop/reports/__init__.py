"""Reports: from the records of runs to a terminal, a paper, a model card and a spreadsheet."""
