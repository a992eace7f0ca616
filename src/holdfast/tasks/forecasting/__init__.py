"""Forecasts of many series: how they are measured, and how sure of them one may be."""
