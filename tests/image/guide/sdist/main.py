import docopt

print(docopt.__version__)
