"""How facts look: rows and numbers in, text, pictures and pages out. No framework.

`table`, `sparkline` and `progress` for the terminal, `page/` for one HTML file, `picture`
(matplotlib), `writers/` (TensorBoard, W&B, MLflow), and `findings` (a finding, and the verdict of
several).
Planning and verifying import these modules by their names; nothing here knows a plan or a model.
"""
