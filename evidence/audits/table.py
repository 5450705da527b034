def document(results):
    return ""
