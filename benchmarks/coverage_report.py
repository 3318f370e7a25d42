def write(file, out):
    pass
