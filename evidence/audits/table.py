def document(results): return ""
