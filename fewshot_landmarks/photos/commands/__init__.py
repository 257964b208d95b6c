"""What `fewshot-landmarks COMMAND` does, one module a command."""
