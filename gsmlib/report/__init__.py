"""The report: notebooks run, their figures and verdicts gathered into offline pages."""
